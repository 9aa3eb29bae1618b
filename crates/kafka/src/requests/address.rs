//! Where the broker is: DescribeCluster and FindCoordinator. There is one node, and it is everything.

use crate::codec::messages::membership::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use crate::codec::messages::metadata::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::errors::ErrorCode;
use crate::session::{Step, Turn};

/// First version that asks for several coordinators.
const MANY_FROM: i16 = 4;

const KEY_GROUP: i8 = 0;
const KEY_TRANSACTION: i8 = 1;

const ENDPOINT_BROKERS: i8 = 1;
const ENDPOINT_CONTROLLERS: i8 = 2;

const NO_NODE: i32 = -1;

pub(super) fn describe_cluster(turn: &Turn<'_, '_>, request: &DescribeClusterRequest) -> Step {
    let error_code = match request.endpoint_type {
        ENDPOINT_BROKERS => ErrorCode::NONE,
        ENDPOINT_CONTROLLERS => ErrorCode::MISMATCHED_ENDPOINT_TYPE,
        _ => ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
    };
    if error_code != ErrorCode::NONE {
        let error_message = Some("this listener is one of a broker".to_owned());
        return turn.answer(&DescribeClusterResponse {
            error_code,
            error_message,
            ..DescribeClusterResponse::default()
        });
    }
    let (host, port) = turn.address();
    let broker_id = turn.options.node_id;
    turn.answer(&DescribeClusterResponse {
        cluster_id: turn.options.cluster_id.clone(),
        controller_id: broker_id,
        brokers: vec![DescribeClusterBroker {
            broker_id,
            host,
            port,
            ..DescribeClusterBroker::default()
        }],
        ..DescribeClusterResponse::default()
    })
}

pub(super) fn find_coordinator(turn: &Turn<'_, '_>, request: FindCoordinatorRequest) -> Step {
    let error_code = match request.key_type {
        KEY_GROUP => ErrorCode::NONE,
        // Clients give up at once on this one, while COORDINATOR_NOT_AVAILABLE they ask again.
        KEY_TRANSACTION => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        _ => ErrorCode::INVALID_REQUEST,
    };
    let found = error_code == ErrorCode::NONE;
    let error_message = (!found).then(|| match request.key_type {
        KEY_TRANSACTION => "this broker has no transactions".to_owned(),
        other => format!("there are no coordinators of type {other}"),
    });
    let (host, port) = if found { turn.address() } else { (String::new(), NO_NODE) };
    let node_id = if found { turn.options.node_id } else { NO_NODE };
    if turn.version() < MANY_FROM {
        return turn.answer(&FindCoordinatorResponse {
            error_code,
            error_message,
            node_id,
            host,
            port,
            ..FindCoordinatorResponse::default()
        });
    }
    let coordinators = request
        .coordinator_keys
        .into_iter()
        .map(|key| Coordinator {
            key,
            node_id,
            host: host.clone(),
            port,
            error_code,
            error_message: error_message.clone(),
        })
        .collect();
    turn.answer(&FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() })
}
