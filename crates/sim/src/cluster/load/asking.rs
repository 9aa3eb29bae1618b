//! Declarations, and questions that are asked until they are answered.

use super::{Asked, GIVES_UP, Load, PRODUCERS, Producer, QUEUES, Queue, TOPICS, leader};
use crate::Violation;
use crate::cluster::{ACCEPTS_WITHIN, Cluster};
use crate::model::broken;
use engine::api::{Append, Op, Payload, Reply, Verdict};
use engine::catalog::{
    Action, Change, Config, DeclareQueue, DeclareTopic, Outcome, QueueOptions, TopicId,
};
use types::{LogRef, ShardId};

impl Load {
    /// Declares what clients use.
    pub(in crate::cluster) fn declare(
        &mut self,
        cluster: &mut Cluster<'_>,
    ) -> Result<(), Violation> {
        for number in 0..TOPICS {
            let id = TopicId([number as u8 + 1; 16]);
            // A storm may move a clock by years.
            let config = Config([("retention.ms".to_owned(), "-1".to_owned())].into());
            let name = format!("t{number}");
            let declare = DeclareTopic { name: name.as_str().into(), id, partitions: 1, config };
            match self.change(cluster, Action::DeclareTopic(declare))? {
                Outcome::Topic { partitions, .. } => self.topics.push(partitions[0]),
                other => return broken(format!("a topic was declared: {other:?}")),
            }
        }
        for number in 0..QUEUES {
            let name = format!("q{number}");
            let declare = DeclareQueue {
                name: name.as_str().into(),
                id: TopicId([number as u8 + 101; 16]),
                durable: true,
                exclusive: None,
                auto_delete: false,
                server_named: false,
                arguments: Default::default(),
                options: QueueOptions::default(),
            };
            match self.change(cluster, Action::DeclareQueue(declare))? {
                Outcome::Queue { log, subscription, .. } => {
                    self.queues.push(Queue { log, subscription });
                }
                other => return broken(format!("a queue was declared: {other:?}")),
            }
        }
        let topics = &self.topics;
        let producer = |number: usize| Producer {
            id: 1_000 + number as i64,
            next: 0,
            log: topics[number % topics.len()],
            current: None,
        };
        self.producers = (0..PRODUCERS).map(producer).collect();
        Ok(())
    }

    fn change(&mut self, cluster: &mut Cluster<'_>, action: Action) -> Result<Outcome, Violation> {
        let change = Change::new("/", action);
        let op = Op::Change { shard: ShardId(0), change: Box::new(change) };
        match self.ask(cluster, &op)? {
            Reply::Changed(result) => result.map_err(|why| Violation(why.to_string())),
            other => broken(format!("a change was answered: {other:?}")),
        }
    }

    /// Asks whoever leads until it is done, while nothing else happens to the cluster.
    pub(in crate::cluster) fn ask(
        &mut self,
        cluster: &mut Cluster<'_>,
        op: &Op,
    ) -> Result<Reply, Violation> {
        let begin = cluster.tick;
        while cluster.tick - begin < 2 * ACCEPTS_WITHIN {
            if let Some(reply) = self.ask_once(cluster, op)? {
                return Ok(reply);
            }
        }
        broken(format!("nobody answers for shard {}: {op:?}", op.shard()))
    }

    /// Asks whoever leads once; none when nobody does, or it is not known what became of it.
    pub(in crate::cluster) fn ask_once(
        &mut self,
        cluster: &mut Cluster<'_>,
        op: &Op,
    ) -> Result<Option<Reply>, Violation> {
        cluster.step()?;
        self.hear(cluster)?;
        let Some(node) = leader(cluster, op.shard()) else { return Ok(None) };
        let Some(token) = self.send(cluster, node, op.clone(), Asked::Told) else {
            return Ok(None);
        };
        let since = cluster.tick;
        while cluster.tick - since < GIVES_UP && self.asked.contains_key(&(node, token)) {
            cluster.step()?;
            self.hear(cluster)?;
        }
        self.asked.remove(&(node, token));
        Ok(self.answers.remove(&(node, token)).and_then(Result::ok))
    }

    /// Writes a message to a log, whoever leads it.
    pub(in crate::cluster) fn write_one(
        &mut self,
        cluster: &mut Cluster<'_>,
        log: LogRef,
    ) -> Result<(), Violation> {
        let begin = cluster.tick;
        while cluster.tick - begin < 2 * ACCEPTS_WITHIN {
            // Each try is a message of its own, as nobody may know what became of the one before.
            let id = self.new_id();
            let payload = Payload::Tails { bytes: self.packed(&[id]), expiring: false };
            self.book.sent(log.log, id);
            let append = Append { to: [log].into(), payload, waits: true };
            if let Some(Reply::Appended(at)) = self.ask_once(cluster, &Op::Append(append))?
                && at.verdict == Verdict::Appended
            {
                return self.book.acknowledged(log.log, (id, at.base_offset));
            }
        }
        broken(format!("no write to log {} is accepted", log.log))
    }
}
