use crate::codec::encode_request;
use crate::codec::messages::identity::InitProducerIdRequest;
use crate::codec::messages::metadata::MetadataRequest;
use crate::{KafkaWire, Options};
use frontend::transcript::Stage;
use frontend::{Peer, Wire as _};
use std::net::{Ipv4Addr, SocketAddr};
use types::{ClientId, Millis};

const IDLE_MAX: Millis = Millis(600_000);

fn stage() -> Stage {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9092));
    let peer = Peer { client: ClientId(1), address, local: address };
    let wire = KafkaWire::new(Options { idle_max: IDLE_MAX, ..Options::default() });
    Stage::new(wire.session(&peer))
}

#[test]
fn a_connection_that_never_sends_is_closed() {
    let mut stage = stage();
    stage.pass(Millis(IDLE_MAX.0 - 1));
    assert!(!stage.connection.finished());
    stage.pass(Millis(1));
    assert!(stage.connection.finished());
}

#[test]
fn silence_is_counted_from_the_last_request() {
    let mut stage = stage();
    for _ in 0..3 {
        stage.pass(Millis(IDLE_MAX.0 - 1));
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        stage.send(&encode_request(1, None, 5, &request).concat());
        assert!(!stage.output().is_empty());
    }
    stage.pass(IDLE_MAX);
    assert!(stage.connection.finished());
}

#[test]
fn who_waits_for_an_answer_is_not_silent() {
    let mut stage = stage();
    stage.send(&encode_request(1, None, 4, &InitProducerIdRequest::default()).concat());
    assert_eq!(stage.desk.calls().len(), 1);
    stage.pass(Millis(IDLE_MAX.0 * 3));
    assert!(!stage.connection.finished());
}
