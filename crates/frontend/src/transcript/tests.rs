use super::{Desk, Syntax, run};
use crate::lines::{LineSession, appended};
use bytes::BytesMut;
use engine::api::{Call, Event};
use types::ShardId;

pub(super) struct Plain;

impl Syntax for Plain {
    fn encode(&mut self, text: &str) -> Vec<u8> {
        format!("{text}\n").into_bytes()
    }

    fn decode(&mut self, bytes: &mut BytesMut) -> Option<String> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let line = bytes.split_to(end + 1);
        Some(String::from_utf8(line[..end].to_vec()).unwrap())
    }

    fn answer(&mut self, _desk: &Desk, shard: ShardId, call: Call) -> (String, Vec<Event>) {
        let reply = Event::Reply { token: call.token, result: Ok(appended(shard)) };
        (format!("shard {shard}"), vec![reply])
    }
}

#[test]
fn a_conversation_reads_as_its_script() {
    let script = "\
> echo hello
< hello
> append 0,3 10
! shard 0
! shard 3
< appended 0 Appended
# the timer is due at 100
> wake 100
+99
+1
< tick
> close
< bye
closed
";
    assert_eq!(run(Box::<LineSession>::default(), &mut Plain, script), script);
}

#[test]
fn what_a_script_does_not_expect_shows() {
    let happened = run(Box::<LineSession>::default(), &mut Plain, "> echo a\n< b\n@ shut\n");
    assert_eq!(happened, "> echo a\n< a\n@ shut\nclosed\n");
}
