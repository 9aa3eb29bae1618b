//! A client that declares and deletes queues and topics while the others work: what was answered
//! stands after every crash, and what was not has happened wholly or not at all.

use crate::model::{Violation, broken};
use crate::world::World;
use engine::Client;
use engine::api::{Call, Event, Op, Reply};
use engine::catalog::{
    Action, Change, Config, DeclareQueue, DeclareTopic, DeleteQueue, Found, Outcome, QueueOptions,
};
use std::collections::BTreeMap;
use types::{Kind, LogRef, Token};

/// Names it works on: queues, and topics.
const NAMES: [&str; 6] = ["c0", "c1", "c2", "c3", "d0", "d1"];
/// Most partitions of its topics.
const PARTITIONS_MAX: usize = 4;

/// What is known of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Gone,
    /// There, with these logs.
    There(Vec<LogRef>),
    /// A change of it was asked for and not answered.
    Asked,
}

pub(crate) struct Churn {
    client: Client,
    asked: BTreeMap<Token, &'static str>,
    names: BTreeMap<&'static str, Known>,
    /// Logs of all things there ever were.
    logs: Vec<LogRef>,
}

impl Churn {
    pub(crate) fn new(world: &World) -> Churn {
        let names = NAMES.iter().map(|name| (*name, Known::Gone)).collect();
        Churn { client: world.connect(), asked: BTreeMap::new(), names, logs: Vec::new() }
    }

    /// The process ended: what was asked is in doubt.
    pub(crate) fn reconnect(&mut self, world: &World) {
        self.client = world.connect();
        self.asked.clear();
    }

    /// Changes one name.
    pub(crate) fn act(&mut self, world: &mut World) {
        let name = NAMES[usize::try_from(world.random.below(NAMES.len() as u64)).unwrap_or(0)];
        let topic = name.starts_with('d');
        let action = match self.names.get(name) {
            Some(Known::There(logs)) if topic && logs.len() < PARTITIONS_MAX => {
                let total = u32::try_from(logs.len() + 1).unwrap_or(1);
                Action::AddPartitions { name: name.into(), total }
            }
            Some(Known::There(_)) if topic => Action::DeleteTopic { name: name.into() },
            Some(Known::There(_)) => {
                Action::DeleteQueue(DeleteQueue { name: name.into(), by: None, only: None })
            }
            Some(Known::Gone) => declare(world, name, topic),
            _ => return,
        };
        let mut change = Change::new("/", action);
        let names = world.engine().handle().names();
        let Ok(layer) = names.place(&mut change) else { return };
        world.next_token += 1;
        let token = Token(world.next_token);
        self.asked.insert(token, name);
        self.names.insert(name, Known::Asked);
        let op = Op::Change { shard: engine::shard_of(layer), change: Box::new(change) };
        self.client.submit(op.shard(), vec![Call { token, op }]);
    }

    /// Takes in what has arrived.
    pub(crate) fn listen(&mut self) -> Result<(), Violation> {
        for event in self.client.outbox().take() {
            let Event::Reply { token, result } = event else { continue };
            let Some(name) = self.asked.remove(&token) else { continue };
            if result.as_ref().is_err_and(|error| error.kind == Kind::Throttled) {
                // Whether it is there is looked up at the next start.
                continue;
            }
            let Ok(Reply::Changed(outcome)) = result else {
                return broken(format!("a change of {name} was answered {result:?}"));
            };
            let known = match *outcome {
                Ok(Outcome::Queue { log, .. }) => Known::There(vec![log]),
                Ok(Outcome::Topic { partitions, .. }) => Known::There(partitions.to_vec()),
                Ok(Outcome::Deleted(_)) => Known::Gone,
                other => return broken(format!("a change of {name} came to {other:?}")),
            };
            self.know(name, known);
        }
        Ok(())
    }

    fn know(&mut self, name: &'static str, known: Known) {
        if let Known::There(logs) = &known {
            self.logs.extend(logs);
            self.logs.sort_unstable();
            self.logs.dedup();
        }
        self.names.insert(name, known);
    }

    /// After a start: every name is as it was answered, and has all that belongs to it.
    pub(crate) fn check(&mut self, world: &mut World) -> Result<(), Violation> {
        let mut named = Vec::new();
        for name in NAMES {
            let found = world.engine().handle().names().find("/", name).cloned();
            let there = match &found {
                Some(found) => Known::There(found.logs().to_vec()),
                None => Known::Gone,
            };
            let known = self.names.get(name).cloned().unwrap_or_default();
            if known != Known::Asked && known != there {
                return broken(format!("{name} was {known:?} and is {there:?}"));
            }
            self.know(name, there);
            let Some(found) = found else { continue };
            named.extend(found.logs().to_vec());
            if let Found::Queue(queue) = found {
                let counts = world.ask(Op::Count(queue.subscription))?;
                counts.map_err(|why| Violation(format!("queue {name} is not whole: {why}")))?;
            }
        }
        for log in self.logs.clone() {
            let there = match world.ask(Op::Extent(vec![log]))? {
                Ok(Reply::Extents(extents)) => extents.first().is_some_and(Option::is_some),
                other => return broken(format!("an extent was answered: {other:?}")),
            };
            if there != named.contains(&log) {
                let what = if there { "has no name" } else { "is not there" };
                return broken(format!("log {} on shard {} {what}", log.log, log.shard.0));
            }
        }
        Ok(())
    }
}

fn declare(world: &World, name: &str, topic: bool) -> Action {
    let id = world.engine().handle().new_topic_id();
    if topic {
        let config = Config::default();
        return Action::DeclareTopic(DeclareTopic { name: name.into(), id, partitions: 1, config });
    }
    Action::DeclareQueue(DeclareQueue {
        name: name.into(),
        id,
        durable: true,
        exclusive: None,
        auto_delete: false,
        server_named: false,
        arguments: Default::default(),
        options: QueueOptions::default(),
    })
}
