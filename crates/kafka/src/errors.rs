//! The protocol's error codes that this broker sends, and what each of the engine's failures is
//! in the protocol.
//!
//! Source: org.apache.kafka.common.protocol.Errors.

use types::Kind;

/// An error code as it stands in a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub i16);

macro_rules! codes {
    ($($code:literal $name:ident)*) => {
        impl ErrorCode {
            $(pub const $name: ErrorCode = ErrorCode($code);)*

            /// The name that clients print.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($code => stringify!($name),)*
                    _ => "UNKNOWN",
                }
            }
        }

        /// Every code that has a name here.
        pub const CODES: &[ErrorCode] = &[$(ErrorCode($code)),*];
    };
}

codes! {
    -1 UNKNOWN_SERVER_ERROR
    0 NONE
    1 OFFSET_OUT_OF_RANGE
    2 CORRUPT_MESSAGE
    3 UNKNOWN_TOPIC_OR_PARTITION
    4 INVALID_FETCH_SIZE
    5 LEADER_NOT_AVAILABLE
    6 NOT_LEADER_OR_FOLLOWER
    7 REQUEST_TIMED_OUT
    8 BROKER_NOT_AVAILABLE
    10 MESSAGE_TOO_LARGE
    12 OFFSET_METADATA_TOO_LARGE
    14 COORDINATOR_LOAD_IN_PROGRESS
    15 COORDINATOR_NOT_AVAILABLE
    16 NOT_COORDINATOR
    17 INVALID_TOPIC_EXCEPTION
    18 RECORD_LIST_TOO_LARGE
    21 INVALID_REQUIRED_ACKS
    22 ILLEGAL_GENERATION
    23 INCONSISTENT_GROUP_PROTOCOL
    24 INVALID_GROUP_ID
    25 UNKNOWN_MEMBER_ID
    26 INVALID_SESSION_TIMEOUT
    27 REBALANCE_IN_PROGRESS
    29 TOPIC_AUTHORIZATION_FAILED
    30 GROUP_AUTHORIZATION_FAILED
    31 CLUSTER_AUTHORIZATION_FAILED
    32 INVALID_TIMESTAMP
    33 UNSUPPORTED_SASL_MECHANISM
    34 ILLEGAL_SASL_STATE
    35 UNSUPPORTED_VERSION
    36 TOPIC_ALREADY_EXISTS
    37 INVALID_PARTITIONS
    38 INVALID_REPLICATION_FACTOR
    39 INVALID_REPLICA_ASSIGNMENT
    40 INVALID_CONFIG
    41 NOT_CONTROLLER
    42 INVALID_REQUEST
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT
    44 POLICY_VIOLATION
    45 OUT_OF_ORDER_SEQUENCE_NUMBER
    46 DUPLICATE_SEQUENCE_NUMBER
    47 INVALID_PRODUCER_EPOCH
    48 INVALID_TXN_STATE
    49 INVALID_PRODUCER_ID_MAPPING
    50 INVALID_TRANSACTION_TIMEOUT
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    56 KAFKA_STORAGE_ERROR
    57 LOG_DIR_NOT_FOUND
    58 SASL_AUTHENTICATION_FAILED
    59 UNKNOWN_PRODUCER_ID
    68 NON_EMPTY_GROUP
    69 GROUP_ID_NOT_FOUND
    70 FETCH_SESSION_ID_NOT_FOUND
    71 INVALID_FETCH_SESSION_EPOCH
    73 TOPIC_DELETION_DISABLED
    74 FENCED_LEADER_EPOCH
    75 UNKNOWN_LEADER_EPOCH
    76 UNSUPPORTED_COMPRESSION_TYPE
    79 MEMBER_ID_REQUIRED
    81 GROUP_MAX_SIZE_REACHED
    82 FENCED_INSTANCE_ID
    86 GROUP_SUBSCRIBED_TO_TOPIC
    87 INVALID_RECORD
    89 THROTTLING_QUOTA_EXCEEDED
    90 PRODUCER_FENCED
    91 RESOURCE_NOT_FOUND
    100 UNKNOWN_TOPIC_ID
    103 INCONSISTENT_TOPIC_ID
    106 FETCH_SESSION_TOPIC_ID_ERROR
    114 MISMATCHED_ENDPOINT_TYPE
    115 UNSUPPORTED_ENDPOINT_TYPE
}

/// The code of a failure that concerns a topic or a partition.
pub fn topic_error(kind: Kind) -> ErrorCode {
    match kind {
        Kind::NotFound => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Kind::Exists => ErrorCode::TOPIC_ALREADY_EXISTS,
        Kind::Denied => ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        Kind::InUse | Kind::Full => ErrorCode::POLICY_VIOLATION,
        Kind::Invalid => ErrorCode::INVALID_REQUEST,
        Kind::TooLarge => ErrorCode::MESSAGE_TOO_LARGE,
        // Clients try again after it on every API; THROTTLING_QUOTA_EXCEEDED is for admin APIs only.
        Kind::Throttled => ErrorCode::REQUEST_TIMED_OUT,
        Kind::NotLeader => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        Kind::Unavailable => ErrorCode::KAFKA_STORAGE_ERROR,
        Kind::Corrupt => ErrorCode::CORRUPT_MESSAGE,
    }
}

/// The code of a failure that concerns a group and its coordinator.
pub fn group_error(kind: Kind) -> ErrorCode {
    match kind {
        Kind::NotFound => ErrorCode::GROUP_ID_NOT_FOUND,
        Kind::Exists | Kind::Invalid => ErrorCode::INVALID_REQUEST,
        Kind::Denied => ErrorCode::GROUP_AUTHORIZATION_FAILED,
        Kind::InUse => ErrorCode::NON_EMPTY_GROUP,
        Kind::TooLarge => ErrorCode::OFFSET_METADATA_TOO_LARGE,
        Kind::NotLeader => ErrorCode::NOT_COORDINATOR,
        Kind::Throttled | Kind::Unavailable => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        Kind::Full | Kind::Corrupt => ErrorCode::UNKNOWN_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests;
