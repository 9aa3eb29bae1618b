//! Producer ids (KIP-98, KIP-360) and SASL (KIP-43, KIP-152).

use super::super::schema::{schema, within};
use crate::errors::ErrorCode;
use bytes::Bytes;

schema! {
    /// Request of InitProducerId.
    message InitProducerIdRequest key 22 [0..=5] flexible 2 {
        transactional_id: Option<String> [0+] nullable [0+],
        transaction_timeout_ms: i32 [0+],
        producer_id: i64 [3+] = -1,
        producer_epoch: i16 [3+] = -1,
    }

    /// Response of InitProducerId.
    message InitProducerIdResponse key 22 [0..=5] flexible 2 {
        throttle_time_ms: i32 [0+],
        error_code: ErrorCode [0+],
        producer_id: i64 [0+] = -1,
        producer_epoch: i16 [0+],
    }

    /// Request of SaslHandshake.
    message SaslHandshakeRequest key 17 [0..=1] flexible none {
        mechanism: String [0+],
    }

    /// Response of SaslHandshake.
    message SaslHandshakeResponse key 17 [0..=1] flexible none {
        error_code: ErrorCode [0+],
        mechanisms: Vec<String> [0+],
    }

    /// Request of SaslAuthenticate.
    message SaslAuthenticateRequest key 36 [0..=2] flexible 2 {
        auth_bytes: Bytes [0+],
    }

    /// Response of SaslAuthenticate.
    message SaslAuthenticateResponse key 36 [0..=2] flexible 2 {
        error_code: ErrorCode [0+],
        error_message: Option<String> [0+] nullable [0+],
        auth_bytes: Bytes [0+],
        session_lifetime_ms: i64 [1+],
    }
}
