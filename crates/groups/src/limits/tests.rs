//! What passes and what does not.

use super::Limits;
use crate::{ClientLabel, Join, Protocol, Refusal};
use bytes::Bytes;
use types::Millis;

fn join(session_timeout: i64, metadata_bytes: usize) -> Join {
    let limits = Limits::default();
    Join {
        member: String::new(),
        instance: None,
        new_member: "m".to_owned(),
        client: ClientLabel::default(),
        session_timeout: Millis(session_timeout),
        rebalance_timeout: Millis(1),
        protocol_type: "consumer".to_owned(),
        protocols: vec![
            Protocol { name: "range".to_owned(), metadata: Bytes::new() },
            Protocol { name: "x".to_owned(), metadata: Bytes::from(vec![0; metadata_bytes]) },
        ],
        rules: limits.rules(true, false),
    }
}

#[test]
fn session_timeouts_and_sizes_have_bounds() {
    let limits = Limits { protocols_bytes_max: 100, ..Limits::default() };
    for (session_timeout, metadata_bytes, wanted) in [
        (6_000, 94, Ok(())),
        (1_800_000, 0, Ok(())),
        (5_999, 0, Err(Refusal::InvalidSessionTimeout)),
        (1_800_001, 0, Err(Refusal::InvalidSessionTimeout)),
        (-1, 0, Err(Refusal::InvalidSessionTimeout)),
        (6_000, 95, Err(Refusal::TooLarge)),
    ] {
        let verdict = limits.check(&join(session_timeout, metadata_bytes));
        assert_eq!(verdict, wanted, "{session_timeout} ms, {metadata_bytes} bytes");
    }
}
