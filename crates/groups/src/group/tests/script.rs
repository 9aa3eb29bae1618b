//! Scripts: lines that begin with `>` are commands, the others what they lead to. A reply comes
//! first, then what members that waited are told (`->`).
//!
//! ```text
//! join M [again] [OPTION=VALUE ..]    M is the new id, or with `again` the one it has
//!     instance  protocols (a,b)  meta  session  rebalance  delay  max  type  topics (a,b)
//!     known (KIP-394)  skip (KIP-814)
//! sync M GENERATION [for=M:ASSIGNMENT,..] [instance=I] [protocol=P] [type=T]
//! heartbeat M GENERATION [instance=I]
//! leave M[@INSTANCE] ..               M may be empty: @i
//! wait MS                             time passes; what is due happens
//! timeout                             as a deadline that was moved on its way
//! commit M GENERATION TOPIC/N=OFFSET .. [note=TEXT] [instance=I]      M `-`: none
//! offsets | forget TOPIC | delete-offsets TOPIC/N .. | expire-offsets MS | delete
//! view
//! restart                             state from its bytes, sessions granted anew
//! ```

use crate::{
    ClientLabel, Command, Commit, Due, Effect, Generation, Groups, Join, Joined, LeavingMember,
    Limits, OffsetKey, OffsetToCommit, Protocol, Refusal, Reply, Sessions, Sync, Synced,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write;
use types::Millis;

struct World {
    groups: Groups,
    sessions: Sessions,
    now: Millis,
}

/// The words of a command: positional ones, flags and options.
struct Words<'a> {
    plain: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

fn check(script: &str) {
    let mut world =
        World { groups: Groups::default(), sessions: Sessions::default(), now: Millis(0) };
    let mut seen = String::new();
    let wanted: Vec<&str> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    for line in &wanted {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(seen, "{line}").unwrap();
            world.run(command, &mut seen);
        }
    }
    assert_eq!(seen.trim_end(), wanted.join("\n"));
}

impl World {
    fn run(&mut self, line: &str, out: &mut String) {
        let words = Words::of(line);
        match words.plain[0] {
            "heartbeat" => self.heartbeat(&words, out),
            "wait" => self.wait(Millis(number(words.plain[1])), out),
            "offsets" => {
                for (key, noted) in self.groups.get("g").iter().flat_map(|group| group.offsets()) {
                    let OffsetKey { topic, partition } = key;
                    let (offset, epoch) = (noted.offset, noted.leader_epoch);
                    let at = noted.committed_at;
                    writeln!(
                        out,
                        "{topic}/{partition}={offset} epoch {epoch} at {at} {:?}",
                        noted.metadata
                    )
                    .unwrap();
                }
            }
            "view" => self.view(out),
            "restart" => {
                let bytes = postcard::to_stdvec(&self.groups).unwrap();
                let again = postcard::from_bytes(&bytes).unwrap();
                assert_eq!(self.groups, again);
                self.groups = again;
                self.sessions = Sessions::rebuilt(&self.groups, self.now);
            }
            _ => {
                let command = words.command();
                self.apply(command, out);
            }
        }
    }

    fn apply(&mut self, command: Command, out: &mut String) {
        let mut effects = Vec::new();
        let reply = self.groups.apply("g", command, self.now, &mut effects);
        show_reply(reply, out);
        for effect in effects {
            self.sessions.apply("g", &effect, self.now);
            match effect {
                Effect::Joined { member, result } => {
                    writeln!(out, "-> {member} {}", result.map_or_else(no, show_joined)).unwrap();
                }
                Effect::Synced { member, result } => {
                    writeln!(out, "-> {member} {}", result.map_or_else(no, show_synced)).unwrap();
                }
                _ => {}
            }
        }
    }

    fn heartbeat(&mut self, words: &Words<'_>, out: &mut String) {
        let (member, generation) = (words.plain[1], Generation(number(words.plain[2])));
        let instance = words.options.get("instance").copied();
        let verdict = self.groups.heartbeat_verdict("g", generation, member, instance);
        if matches!(verdict, Ok(()) | Err(Refusal::RebalanceInProgress)) {
            self.sessions.heartbeat("g", member, self.now);
        }
        writeln!(out, "{}", verdict.map_or_else(no, |()| "ok".to_owned())).unwrap();
    }

    /// Lets time pass from one due thing to the next.
    fn wait(&mut self, span: Millis, out: &mut String) {
        let until = self.now.plus(span);
        while let Some(at) = self.sessions.next_due().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            for Due { group, command } in self.sessions.due(self.now) {
                assert_eq!(group, "g");
                let what = match &command {
                    Command::Expire { member } => format!("expire {member}"),
                    _ => "deadline".to_owned(),
                };
                writeln!(out, "at {}: {what}", self.now).unwrap();
                self.apply(command, out);
            }
        }
        self.now = until;
    }

    fn view(&self, out: &mut String) {
        let Some(group) = self.groups.get("g") else {
            writeln!(out, "no group").unwrap();
            return;
        };
        let view = group.view();
        let (kind, protocol) = (&view.protocol_type, &view.protocol);
        writeln!(out, "{:?} gen {} {kind:?} {protocol:?}", view.state, view.generation.0).unwrap();
        for member in view.members {
            let instance = member.instance.map_or(String::new(), |instance| format!("@{instance}"));
            let label =
                format!("{}{instance} {} {}", member.member, member.client_id, member.client_host);
            writeln!(out, "{label} {:?} {:?}", member.metadata, member.assignment).unwrap();
        }
    }
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Words<'a> {
        let mut words = Words { plain: Vec::new(), options: BTreeMap::new() };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) if !name.contains('/') => {
                    words.options.insert(name, value);
                }
                _ => words.plain.push(word),
            }
        }
        words
    }

    fn millis(&self, name: &str, default: i64) -> Millis {
        Millis(self.options.get(name).map_or(default, |value| number(value)))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.options.get(name).map(|&value| value.to_owned())
    }

    fn command(&self) -> Command {
        match self.plain[0] {
            "join" => Command::Join(self.join()),
            "sync" => Command::Sync(self.sync()),
            "leave" => {
                let leaving = |word: &&str| {
                    let (member, instance) = match word.split_once('@') {
                        Some((member, instance)) => (member, Some(instance.to_owned())),
                        None => (*word, None),
                    };
                    LeavingMember { member: member.to_owned(), instance }
                };
                Command::Leave { members: self.plain[1..].iter().map(leaving).collect() }
            }
            "commit" => Command::Commit(self.commit()),
            "forget" => Command::ForgetTopic { topic: self.plain[1].to_owned() },
            "delete-offsets" => Command::DeleteOffsets {
                keys: self.plain[1..].iter().map(|word| key(word)).collect(),
            },
            "expire-offsets" => Command::ExpireOffsets { retention: Millis(number(self.plain[1])) },
            "delete" => Command::DeleteGroup,
            "timeout" => Command::RebalanceTimeout,
            other => panic!("no command {other}"),
        }
    }

    fn join(&self) -> Join {
        let id = self.plain[1].to_owned();
        let is_again = self.plain.contains(&"again");
        let meta = match self.options.get("topics") {
            Some(topics) => subscription(topics),
            None => Bytes::from(self.text("meta").unwrap_or_else(|| format!("of-{id}"))),
        };
        let names = self.options.get("protocols").copied().unwrap_or("range");
        let protocol = |name: &str| Protocol { name: name.to_owned(), metadata: meta.clone() };
        let limits = Limits {
            initial_delay: self.millis("delay", 0),
            members_max: self.options.get("max").map_or(100, |value| number(value)),
            ..Limits::default()
        };
        let flag = |name| self.plain.contains(&name);
        Join {
            member: if is_again { id.clone() } else { String::new() },
            instance: self.text("instance"),
            new_member: if is_again { "unused".to_owned() } else { id },
            client: ClientLabel { id: "client".to_owned(), host: "host".to_owned() },
            session_timeout: self.millis("session", 10_000),
            rebalance_timeout: self.millis("rebalance", 60_000),
            protocol_type: self.text("type").unwrap_or_else(|| "consumer".to_owned()),
            protocols: names.split(',').filter(|name| !name.is_empty()).map(protocol).collect(),
            rules: limits.rules(flag("known"), flag("skip")),
        }
    }

    fn sync(&self) -> Sync {
        let assignments = self.options.get("for").copied().unwrap_or_default();
        let one = |pair: &str| {
            let (member, assignment) = pair.split_once(':').unwrap();
            (member.to_owned(), Bytes::from(assignment.to_owned()))
        };
        Sync {
            member: self.plain[1].to_owned(),
            instance: self.text("instance"),
            generation: Generation(number(self.plain[2])),
            protocol_type: self.text("type"),
            protocol: self.text("protocol"),
            assignments: assignments.split(',').filter(|pair| !pair.is_empty()).map(one).collect(),
        }
    }

    fn commit(&self) -> Commit {
        let member = self.plain[1].trim_start_matches('-').to_owned();
        let one = |word: &&str| {
            let (at, offset) = word.split_once('=').unwrap();
            let metadata = self.text("note").unwrap_or_default();
            OffsetToCommit { key: key(at), offset: number(offset), leader_epoch: -1, metadata }
        };
        Commit {
            member,
            instance: self.text("instance"),
            generation: Generation(number(self.plain[2])),
            metadata_bytes_max: 8,
            offsets: self.plain[3..].iter().map(one).collect(),
        }
    }
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("no number: {word}"))
}

fn key(word: &str) -> OffsetKey {
    let (topic, partition) = word.split_once('/').unwrap();
    OffsetKey { topic: topic.to_owned(), partition: number(partition) }
}

/// Consumer metadata of version 0 for topics `a,b`.
fn subscription(topics: &str) -> Bytes {
    let topics: Vec<&str> = topics.split(',').filter(|topic| !topic.is_empty()).collect();
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend([0xff; 4]);
    Bytes::from(bytes)
}

fn no(refusal: Refusal) -> String {
    format!("refused: {refusal:?}")
}

fn show_joined(joined: Joined) -> String {
    let Joined { generation, protocol, leader, .. } = &joined;
    let protocol = protocol.as_deref().unwrap_or("none");
    let mut shown = format!("joined gen {} {protocol} led by {leader}", generation.0);
    if joined.skip_assignment {
        shown.push_str(", nothing to assign");
    }
    for member in &joined.members {
        let instance = member.instance.as_ref().map_or(String::new(), |name| format!("@{name}"));
        write!(shown, " [{}{instance} {:?}]", member.member, member.metadata).unwrap();
    }
    shown
}

fn show_synced(synced: Synced) -> String {
    format!("synced {:?}", synced.assignment)
}

fn show_results(results: Vec<Result<(), Refusal>>) -> String {
    let shown = results.into_iter().map(|result| match result {
        Ok(()) => "ok".to_owned(),
        Err(refusal) => format!("{refusal:?}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn show_reply(reply: Reply, out: &mut String) {
    let shown = match reply {
        Reply::Done => return,
        Reply::Waiting { member } => format!("{member} waits"),
        Reply::Joined(joined) => format!("{} {}", joined.member.clone(), show_joined(joined)),
        Reply::MemberIdRequired { member } => format!("come again as {member}"),
        Reply::Synced(synced) => show_synced(synced),
        Reply::Left(results) | Reply::Committed(results) | Reply::OffsetsDeleted(results) => {
            show_results(results)
        }
        Reply::Refused(refusal) => no(refusal),
    };
    writeln!(out, "{shown}").unwrap();
}

#[test]
fn two_members_join_and_sync() {
    check(
        r#"> join a
         a waits
         -> a joined gen 1 range led by a [a b"of-a"]
         > sync a 1 for=a:all
         a waits
         -> a synced b"all"
         > join b
         b waits
         > heartbeat a 1
         refused: RebalanceInProgress
         > join a again
         a waits
         -> a joined gen 2 range led by a [a b"of-a"] [b b"of-b"]
         -> b joined gen 2 range led by a
         > heartbeat b 2
         ok
         > heartbeat b 1
         refused: IllegalGeneration
         > heartbeat b 3
         refused: IllegalGeneration
         > sync b 1
         refused: IllegalGeneration
         > sync b 2
         b waits
         > sync a 2 for=a:one,b:two,nobody:three
         a waits
         -> a synced b"one"
         -> b synced b"two"
         > sync b 2
         synced b"two"
         > heartbeat b 2
         ok
         > view
         Stable gen 2 "consumer" "range"
         a client host b"of-a" b"one"
         b client host b"of-b" b"two""#,
    );
}

#[test]
fn a_member_the_leader_leaves_out_gets_nothing() {
    check(
        r#"> join a delay=100
         a waits
         > join b
         b waits
         > wait 200
         at 100: deadline
         at 200: deadline
         -> a joined gen 1 range led by a [a b"of-a"] [b b"of-b"]
         -> b joined gen 1 range led by a
         > sync a 1 for=a:all
         a waits
         -> a synced b"all"
         > sync b 1
         synced b"""#,
    );
}

#[test]
fn the_first_rebalance_waits_while_the_group_grows() {
    check(
        r#"> join a delay=100 rebalance=250
         a waits
         > wait 90
         > join b delay=100 rebalance=250
         b waits
         > wait 20
         at 100: deadline
         > join c delay=100 rebalance=250
         c waits
         > wait 200
         at 200: deadline
         at 250: deadline
         -> a joined gen 1 range led by a [a b"of-a"] [b b"of-b"] [c b"of-c"]
         -> b joined gen 1 range led by a
         -> c joined gen 1 range led by a"#,
    );
}

#[test]
fn the_leader_is_elected_anew_when_it_does_not_come_back() {
    check(
        r#"> join a session=600000
         a waits
         -> a joined gen 1 range led by a [a b"of-a"]
         > sync a 1
         a waits
         -> a synced b""
         > join b
         b waits
         > join c
         c waits
         > wait 60000
         at 60000: deadline
         -> b joined gen 2 range led by b [b b"of-b"] [c b"of-c"]
         -> c joined gen 2 range led by b
         > heartbeat a 2
         refused: UnknownMember
         > sync a 1
         refused: UnknownMember"#,
    );
}

#[test]
fn a_leader_that_joins_again_starts_a_rebalance_and_a_follower_does_not() {
    check(
        r#"> join a delay=1
         a waits
         > join b
         b waits
         > wait 5
         at 1: deadline
         at 2: deadline
         -> a joined gen 1 range led by a [a b"of-a"] [b b"of-b"]
         -> b joined gen 1 range led by a
         > join b again
         b joined gen 1 range led by a
         > join a again
         a joined gen 1 range led by a [a b"of-a"] [b b"of-b"]
         > sync b 1
         b waits
         > sync a 1 for=a:1,b:2
         a waits
         -> a synced b"1"
         -> b synced b"2"
         > join b again
         b joined gen 1 range led by a
         > join a again
         a waits
         > heartbeat b 1
         refused: RebalanceInProgress
         > join b again meta=new
         b waits
         -> a joined gen 2 range led by a [a b"of-a"] [b b"new"]
         -> b joined gen 2 range led by a
         > join b again meta=newer
         b waits
         > join a again
         a waits
         -> a joined gen 3 range led by a [a b"of-a"] [b b"newer"]
         -> b joined gen 3 range led by a"#,
    );
}

#[test]
fn a_waiting_sync_is_refused_when_the_generation_ends() {
    check(
        r#"> join a delay=1
         a waits
         > join b
         b waits
         > wait 5
         at 1: deadline
         at 2: deadline
         -> a joined gen 1 range led by a [a b"of-a"] [b b"of-b"]
         -> b joined gen 1 range led by a
         > sync b 1
         b waits
         > join c
         c waits
         -> b refused: RebalanceInProgress
         > sync a 1 for=a:1,b:2
         refused: RebalanceInProgress"#,
    );
}

#[test]
fn the_protocol_all_support_and_most_want_wins() {
    check(
        r#"> join a delay=1 protocols=x,y,z
         a waits
         > join b protocols=z,y
         b waits
         > join c protocols=y,z
         c waits
         > join d protocols=x
         refused: InconsistentProtocol
         > join d protocols=z type=connect
         refused: InconsistentProtocol
         > wait 2
         at 1: deadline
         at 2: deadline
         -> a joined gen 1 y led by a [a b"of-a"] [b b"of-b"] [c b"of-c"]
         -> b joined gen 1 y led by a
         -> c joined gen 1 y led by a
         > sync b 1 protocol=z
         refused: InconsistentProtocol
         > sync b 1 protocol=y type=connect
         refused: InconsistentProtocol
         > sync b 1 protocol=y type=consumer
         b waits"#,
    );
    check(
        "> join a protocols=
         refused: InconsistentProtocol
         > view
         no group",
    );
}

#[test]
fn kip_394_an_id_comes_first_and_holds_the_rebalance() {
    check(
        r#"> join a known
         come again as a
         > heartbeat a 0
         refused: UnknownMember
         > join b known
         come again as b
         > join a again
         a waits
         > join b again
         b waits
         -> a joined gen 1 range led by a [a b"of-a"] [b b"of-b"]
         -> b joined gen 1 range led by a
         > join c known
         come again as c
         > join b again meta=new
         b waits
         > join a again
         a waits
         > wait 20000
         at 10000: expire a
         at 10000: expire b
         at 10000: expire c
         -> a joined gen 2 range led by a [a b"of-a"] [b b"new"]
         -> b joined gen 2 range led by a
         at 20000: expire a
         -> b refused: UnknownMember"#
            .split("at 20000")
            .next()
            .unwrap()
            .replace("wait 20000", "wait 15000")
            .as_str(),
    );
}

#[test]
fn kip_345_a_static_member_is_replaced_and_the_old_one_fenced() {
    check(
        r#"> join a delay=1 instance=i
         a waits
         > join b instance=j
         b waits
         > wait 2
         at 1: deadline
         at 2: deadline
         -> a joined gen 1 range led by a [a@i b"of-a"] [b@j b"of-b"]
         -> b joined gen 1 range led by a
         > sync b 1 instance=j
         b waits
         > sync a 1 instance=i for=a:1,b:2
         a waits
         -> a synced b"1"
         -> b synced b"2"
         > join b2 instance=j
         b2 joined gen 1 range led by a
         > sync b2 1 instance=j
         synced b"2"
         > heartbeat b 1 instance=j
         refused: FencedInstance
         > heartbeat b 1
         refused: UnknownMember
         > commit b 1 t/0=5 instance=j
         refused: FencedInstance
         > sync b 1 instance=j
         refused: FencedInstance
         > join b again instance=j
         refused: FencedInstance
         > join x again instance=k
         refused: UnknownMember
         > leave b@j
         FencedInstance
         > heartbeat b2 1 instance=j
         ok
         > join a2 instance=i
         a2 joined gen 1 range led by a
         > join a3 instance=i skip
         a3 joined gen 1 range led by a3, nothing to assign [a3@i b"of-a3"] [b2@j b"of-b2"]
         > view
         Stable gen 1 "consumer" "range"
         a3@i client host b"of-a3" b"1"
         b2@j client host b"of-b2" b"2""#,
    );
}

#[test]
fn kip_345_a_static_member_replaced_in_mid_rebalance() {
    check(
        r#"> join a delay=1 instance=i
         a waits
         > join a2 instance=i
         a2 waits
         -> a refused: FencedInstance
         > join b
         b waits
         > wait 2
         at 1: deadline
         at 2: deadline
         -> a2 joined gen 1 range led by a2 [a2@i b"of-a2"] [b b"of-b"]
         -> b joined gen 1 range led by a2
         > sync b 1
         b waits
         > join a3 instance=i
         a3 waits
         -> b refused: RebalanceInProgress
         > join b again
         b waits
         -> a3 joined gen 2 range led by a3 [a3@i b"of-a3"] [b b"of-b"]
         -> b joined gen 2 range led by a3"#,
    );
    // With other protocols the group cannot stay as it is.
    check(
        r#"> join a delay=1 instance=i protocols=x,y
         a waits
         > join b protocols=y,x
         b waits
         > wait 2
         at 1: deadline
         at 2: deadline
         -> a joined gen 1 x led by a [a@i b"of-a"] [b b"of-b"]
         -> b joined gen 1 x led by a
         > sync a 1 for=a:1,b:2
         a waits
         -> a synced b"1"
         > join a2 instance=i protocols=y,x
         a2 waits
         > join b again protocols=y,x
         b waits
         -> a2 joined gen 2 y led by a2 [a2@i b"of-a2"] [b b"of-b"]
         -> b joined gen 2 y led by a2"#,
    );
}

#[test]
fn a_static_member_keeps_its_place_until_its_session_ends() {
    check(
        r#"> join a delay=1 session=90000
         a waits
         > join b instance=j session=90000
         b waits
         > wait 2
         at 1: deadline
         at 2: deadline
         -> a joined gen 1 range led by a [a b"of-a"] [b@j b"of-b"]
         -> b joined gen 1 range led by a
         > sync b 1
         b waits
         > sync a 1 for=a:1,b:2
         a waits
         -> a synced b"1"
         -> b synced b"2"
         > join a again
         a waits
         > wait 60000
         at 60002: deadline
         -> a joined gen 2 range led by a [a b"of-a"] [b@j b"of-b"]
         > sync a 2 for=a:3,b:4
         a waits
         -> a synced b"3"
         > join b2 instance=j
         b2 joined gen 2 range led by a
         > sync b2 2
         synced b"4"
         > leave @j
         ok
         > heartbeat a 2
         refused: RebalanceInProgress"#,
    );
}

#[test]
fn kip_429_a_cooperative_rebalance_takes_two_rounds() {
    check(
        r#"> join a protocols=cooperative-sticky meta=owns-none
         a waits
         -> a joined gen 1 cooperative-sticky led by a [a b"owns-none"]
         > sync a 1 for=a:p0+p1
         a waits
         -> a synced b"p0+p1"
         > join b protocols=cooperative-sticky meta=owns-none
         b waits
         > heartbeat a 1
         refused: RebalanceInProgress
         > commit a 1 t/0=7
         ok
         > join a again protocols=cooperative-sticky meta=owns-p0+p1
         a waits
         -> a joined gen 2 cooperative-sticky led by a [a b"owns-p0+p1"] [b b"owns-none"]
         -> b joined gen 2 cooperative-sticky led by a
         > sync a 2 for=a:p0,b:
         a waits
         -> a synced b"p0"
         > sync b 2
         synced b""
         > join a again protocols=cooperative-sticky meta=owns-p0
         a waits
         > heartbeat b 2
         refused: RebalanceInProgress
         > join b again protocols=cooperative-sticky meta=owns-none
         b waits
         -> a joined gen 3 cooperative-sticky led by a [a b"owns-p0"] [b b"owns-none"]
         -> b joined gen 3 cooperative-sticky led by a
         > sync b 3
         b waits
         > sync a 3 for=a:p0,b:p1
         a waits
         -> a synced b"p0"
         -> b synced b"p1""#,
    );
}

#[test]
fn a_silent_member_expires_and_the_others_share() {
    check(
        r#"> join a delay=1
         a waits
         > join b
         b waits
         > wait 2
         at 1: deadline
         at 2: deadline
         -> a joined gen 1 range led by a [a b"of-a"] [b b"of-b"]
         -> b joined gen 1 range led by a
         > sync b 1
         b waits
         > sync a 1 for=a:1,b:2
         a waits
         -> a synced b"1"
         -> b synced b"2"
         > wait 6000
         > heartbeat a 1
         ok
         > wait 6000
         at 10002: expire b
         > heartbeat b 1
         refused: UnknownMember
         > heartbeat a 1
         refused: RebalanceInProgress
         > join a again
         a waits
         -> a joined gen 2 range led by a [a b"of-a"]
         > wait 10000
         at 22002: expire a
         > view
         Empty gen 3 "consumer" """#,
    );
}

#[test]
fn sessions_end_during_a_rebalance_only_for_those_who_do_not_wait() {
    check(
        r#"> join a delay=1
         a waits
         > join b
         b waits
         > wait 2
         at 1: deadline
         at 2: deadline
         -> a joined gen 1 range led by a [a b"of-a"] [b b"of-b"]
         -> b joined gen 1 range led by a
         > sync b 1
         b waits
         > sync a 1
         a waits
         -> a synced b""
         -> b synced b""
         > wait 5000
         > join a again
         a waits
         > wait 6000
         at 10002: expire a
         at 10002: expire b
         -> a joined gen 2 range led by a [a b"of-a"]"#,
    );
}

#[test]
fn a_member_without_a_generation_does_not_wait_for_ever() {
    check(
        r#"> join a rebalance=900000 session=900000
         a waits
         -> a joined gen 1 range led by a [a b"of-a"]
         > sync a 1
         a waits
         -> a synced b""
         > join b
         b waits
         > wait 299000
         > wait 2000
         at 300000: expire b
         -> b refused: UnknownMember
         > join a again
         a waits
         -> a joined gen 2 range led by a [a b"of-a"]"#,
    );
}

#[test]
fn a_deadline_that_comes_too_early_does_nothing() {
    check(
        r#"> join a delay=100
         a waits
         > wait 99
         > timeout
         > wait 1
         at 100: deadline
         -> a joined gen 1 range led by a [a b"of-a"]
         > sync a 1
         a waits
         -> a synced b""
         > timeout
         > heartbeat a 1
         ok"#,
    );
}

#[test]
fn who_does_not_ask_for_the_assignment_is_removed() {
    check(
        r#"> join a delay=1 session=90000
         a waits
         > join b session=90000
         b waits
         > wait 2
         at 1: deadline
         at 2: deadline
         -> a joined gen 1 range led by a [a b"of-a"] [b b"of-b"]
         -> b joined gen 1 range led by a
         > sync b 1
         b waits
         > wait 60000
         at 60002: deadline
         -> b refused: RebalanceInProgress
         > heartbeat a 1
         refused: UnknownMember
         > join b again session=90000
         b waits
         -> b joined gen 2 range led by b [b b"of-b"]
         > sync b 2
         b waits
         -> b synced b""
         > wait 80000"#,
    );
}

#[test]
fn leaving_ends_membership_at_once() {
    check(
        r#"> join a delay=1
         a waits
         > join b
         b waits
         > join c instance=k
         c waits
         > wait 2
         at 1: deadline
         at 2: deadline
         -> a joined gen 1 range led by a [a b"of-a"] [b b"of-b"] [c@k b"of-c"]
         -> b joined gen 1 range led by a
         -> c joined gen 1 range led by a
         > leave x @y b@y c@k
         UnknownMember, UnknownMember, UnknownMember, ok
         > join b again
         b waits
         > leave a
         ok
         -> b joined gen 2 range led by b [b b"of-b"]
         > leave b
         ok
         > view
         Empty gen 3 "consumer" ""
         > leave b
         UnknownMember
         > join d known
         come again as d
         > leave d
         ok
         > join d again
         refused: UnknownMember"#,
    );
    check(
        "> leave a b
         UnknownMember, UnknownMember",
    );
}

#[test]
fn a_group_has_only_so_many_members() {
    check(
        r#"> join a max=2 delay=1
         a waits
         > join b max=2
         b waits
         > join c max=2
         refused: GroupFull
         > wait 2
         at 1: deadline
         at 2: deadline
         -> a joined gen 1 range led by a [a b"of-a"] [b b"of-b"]
         -> b joined gen 1 range led by a
         > join c max=2
         refused: GroupFull
         > leave b
         ok
         > join c max=2 known
         come again as c
         > join d max=2
         d waits
         > join a again max=2
         a waits
         > join c again max=2
         refused: GroupFull
         -> a joined gen 2 range led by a [a b"of-a"] [d b"of-d"]
         -> d joined gen 2 range led by a"#,
    );
    check(
        "> join a known max=1
         come again as a
         > join b known max=1
         refused: GroupFull",
    );
}

#[test]
fn positions_are_committed_by_members_of_the_generation() {
    check(
        r#"> join a
         a waits
         -> a joined gen 1 range led by a [a b"of-a"]
         > commit a 1 t/0=5
         refused: RebalanceInProgress
         > sync a 1
         a waits
         -> a synced b""
         > commit a 1 t/0=5 t/1=6 note=hello
         ok, ok
         > commit a 1 t/0=9 note=much-too-long
         MetadataTooLarge
         > commit a 0 t/0=7
         refused: IllegalGeneration
         > commit a 2 t/0=7
         refused: IllegalGeneration
         > commit a -1 t/0=7
         refused: IllegalGeneration
         > commit b 1 t/0=7
         refused: UnknownMember
         > commit - -1 t/0=7
         refused: UnknownMember
         > commit - 1 t/0=7
         refused: UnknownMember
         > offsets
         t/0=5 epoch -1 at 0 "hello"
         t/1=6 epoch -1 at 0 "hello"
         > wait 9000
         > commit a 1 t/1=8
         ok
         > wait 9000
         > heartbeat a 1
         ok
         > offsets
         t/0=5 epoch -1 at 0 "hello"
         t/1=8 epoch -1 at 9000 """#,
    );
}

#[test]
fn anybody_commits_under_a_name_without_members() {
    check(
        r#"> commit a 3 t/0=1
         refused: IllegalGeneration
         > view
         no group
         > commit - -1 t/0=1
         ok
         > commit whoever -1 t/1=2
         ok
         > view
         Empty gen 0 "" ""
         > delete-offsets t/1 u/0
         ok, ok
         > offsets
         t/0=1 epoch -1 at 0 ""
         > delete
         > view
         no group
         > delete
         refused: GroupNotFound
         > delete-offsets t/0
         refused: GroupNotFound"#,
    );
}

#[test]
fn positions_in_use_are_not_deleted_and_groups_in_use_neither() {
    check(
        r#"> commit - -1 t/0=1 u/0=2 v/0=3
         ok, ok, ok
         > join a topics=t,v
         a waits
         -> a joined gen 1 range led by a [a b"\0\0\0\0\0\x02\0\x01t\0\x01v\xff\xff\xff\xff"]
         > delete-offsets t/0 u/0
         SubscribedToTopic, ok
         > delete
         refused: GroupNotEmpty
         > forget v
         > offsets
         t/0=1 epoch -1 at 0 ""
         > leave a
         ok
         > delete-offsets t/0
         ok
         > delete
         > view
         no group"#,
    );
    check(
        r#"> join a type=connect topics=t
         a waits
         -> a joined gen 1 range led by a [a b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"]
         > delete-offsets t/0
         refused: GroupNotEmpty"#,
    );
    check(
        r#"> join a meta=unreadable
         a waits
         -> a joined gen 1 range led by a [a b"unreadable"]
         > delete-offsets t/0
         SubscribedToTopic"#,
    );
}

#[test]
fn kip_211_positions_grow_old_when_nobody_uses_them() {
    check(
        r#"> commit - -1 t/0=1
         ok
         > wait 50
         > commit - -1 t/1=1
         ok
         > wait 60
         > expire-offsets 100
         > offsets
         t/1=1 epoch -1 at 50 ""
         > wait 60
         > expire-offsets 100
         > view
         no group"#,
    );
    check(
        r#"> join a topics=t
         a waits
         -> a joined gen 1 range led by a [a b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"]
         > sync a 1
         a waits
         -> a synced b""
         > commit a 1 t/0=1 u/0=1
         ok, ok
         > wait 200
         > expire-offsets 100
         > offsets
         t/0=1 epoch -1 at 0 ""
         > leave a
         ok
         > wait 99
         > expire-offsets 100
         > offsets
         t/0=1 epoch -1 at 0 ""
         > wait 1
         > expire-offsets 100
         > view
         no group"#,
    );
}

#[test]
fn a_restart_grants_everybody_a_full_session() {
    check(
        r#"> join a delay=1
         a waits
         > join b
         b waits
         > wait 2
         at 1: deadline
         at 2: deadline
         -> a joined gen 1 range led by a [a b"of-a"] [b b"of-b"]
         -> b joined gen 1 range led by a
         > sync a 1 for=a:1,b:2
         a waits
         -> a synced b"1"
         > commit a 1 t/0=5
         ok
         > join c known
         come again as c
         > wait 9000
         > restart
         > wait 9000
         > heartbeat a 1
         ok
         > sync b 1
         synced b"2"
         > wait 3000
         at 19002: expire c
         > offsets
         t/0=5 epoch -1 at 2 """#,
    );
}

#[test]
fn a_rebalance_survives_a_restart() {
    check(
        r#"> join a session=30000
         a waits
         -> a joined gen 1 range led by a [a b"of-a"]
         > sync a 1
         a waits
         -> a synced b""
         > join b
         b waits
         > restart
         > join b again
         b waits
         > wait 70000
         at 30000: expire a
         -> b joined gen 2 range led by b [b b"of-b"]
         at 40000: expire b"#,
    );
}
