use super::client::{Broker, batch, batch_of, texts};
use super::groups::{commit, committed};
use crate::errors::ErrorCode;

#[test]
fn everything_acknowledged_is_there_after_a_restart() {
    let mut broker = Broker::new();
    let mut client = broker.client();
    client.create("events", 3, &[("retention.ms", "60000000")]);
    client.produce("events", 2, batch_of(4, 0, 0, &["a", "b"]));
    assert_eq!(commit(&mut client, "events", 2, "here"), ErrorCode::NONE);
    drop(client);
    broker.restart();
    let mut client = broker.client();
    assert_eq!(client.metadata("events", false).partitions.len(), 3);
    assert_eq!(texts(&client.fetch("events", 2, 0)), ["a", "b"]);
    assert_eq!(committed(&mut client, "events"), (2, "here".to_owned()));
    // The producer sends again what it had no answer to.
    let again = client.produce("events", 2, batch_of(4, 0, 0, &["a", "b"]));
    assert_eq!((again.error_code, again.base_offset), (ErrorCode::NONE, 0));
    assert_eq!(client.produce("events", 2, batch(&["c"])).base_offset, 2);
}
