//! Topics and their named subscriptions.

use super::Catalog;
use crate::change::{ConfigChange, DeclareTopic};
use crate::entry::{Found, QueueOptions, Topic};
use crate::outcome::{Deleted, LogChange, LogConfig, Outcome, Refusal, SubscriptionOptions, Thing};
use crate::{Config, KEY_INDEX, Name, PARTITIONS_MAX, naming};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{LogRef, Millis, SubscriptionRef};

impl LogConfig {
    pub(super) fn of_topic(config: &Config) -> LogConfig {
        LogConfig {
            trim_settled: false,
            retention_ms: config.retention_ms(),
            retention_bytes: config.retention_bytes(),
            message_bytes_max: Some(config.message_bytes_max()),
            timestamp_type: config.timestamp_type(),
            level_max: 0,
            dedup: None,
            key_index: config.key_index(),
        }
    }
}

impl Outcome {
    fn of_topic(topic: &Topic, created: bool) -> Outcome {
        Outcome::Topic { id: topic.id, partitions: Arc::clone(&topic.partitions), created }
    }

    fn of_subscription(topic: &Topic, subscription: SubscriptionRef, created: bool) -> Outcome {
        let partitions = Arc::clone(&topic.partitions);
        Outcome::Subscription { topic: topic.id, partitions, subscription, created }
    }
}

impl Catalog {
    pub(super) fn declare_topic(
        &mut self,
        namespace: &Name,
        declare: &DeclareTopic,
        now: Millis,
        work: &mut Vec<LogChange>,
    ) -> Result<Outcome, Refusal> {
        match self.scope(namespace).and_then(|scope| scope.names.get(&declare.name)) {
            Some(Found::Topic(topic)) => return Ok(Outcome::of_topic(topic, false)),
            Some(Found::Queue(_)) => return Err(clash(&declare.name, Thing::Queue)),
            None => {}
        }
        naming::check_topic(&declare.name)?;
        check_partitions(&declare.name, declare.partitions)?;
        let form = naming::collision_form(&declare.name);
        if let Some(with) = self.scope(namespace).and_then(|scope| scope.topic_forms.get(&form)) {
            let name = Name::clone(&declare.name);
            return Err(Refusal::Collides { name, with: Name::clone(with) });
        }
        self.check_id(Thing::Topic, &declare.name, declare.id)?;
        self.check_room(declare.partitions, 0)?;
        let shard = self.least_shard();
        let partitions: Arc<[LogRef]> =
            (0..declare.partitions).map(|_| self.next_log(shard)).collect();
        let config = LogConfig::of_topic(&declare.config);
        work.extend(partitions.iter().map(|log| LogChange::CreateLog { log: *log, config }));
        let topic = Topic {
            name: Name::clone(&declare.name),
            id: declare.id,
            partitions,
            config: Arc::new(declare.config.clone()),
            subscriptions: BTreeMap::new(),
            created: now,
        };
        let outcome = Outcome::of_topic(&topic, true);
        let name = Name::clone(&declare.name);
        self.names.ids.insert(declare.id, Arc::new((Name::clone(namespace), Name::clone(&name))));
        self.scope_mut(namespace).topic_forms.insert(form, name);
        self.put_topic(namespace, topic);
        Ok(outcome)
    }

    pub(super) fn delete_topic(
        &mut self,
        namespace: &Name,
        name: &Name,
        work: &mut Vec<LogChange>,
    ) -> Result<Outcome, Refusal> {
        self.topic(namespace, name)?;
        let mut deleted = Deleted::default();
        self.remove_name(namespace, name, &mut deleted, work);
        Ok(Outcome::Deleted(deleted))
    }

    pub(super) fn add_partitions(
        &mut self,
        namespace: &Name,
        name: &Name,
        total: u32,
        work: &mut Vec<LogChange>,
    ) -> Result<Outcome, Refusal> {
        let mut topic = Topic::clone(self.topic(namespace, name)?);
        check_partitions(name, total)?;
        let more =
            usize::try_from(total).unwrap_or(usize::MAX).saturating_sub(topic.partitions.len());
        let (Some(first), Ok(more @ 1..)) = (topic.partitions.first(), u32::try_from(more)) else {
            let why = format!("it has {} partitions already", topic.partitions.len());
            return Err(invalid(name, why));
        };
        self.check_room(more, 0)?;
        let shard = first.shard;
        let over: Vec<LogRef> = (0..more).map(|_| self.next_log(shard)).collect();
        let config = LogConfig::of_topic(&topic.config);
        work.extend(over.iter().map(|log| LogChange::CreateLog { log: *log, config }));
        work.extend(topic.subscriptions.values().map(|subscription| {
            LogChange::ExtendSubscription { subscription: *subscription, over: over.clone() }
        }));
        topic.partitions = topic.partitions.iter().copied().chain(over).collect();
        let outcome = Outcome::of_topic(&topic, false);
        self.put_topic(namespace, topic);
        Ok(outcome)
    }

    pub(super) fn alter_config(
        &mut self,
        namespace: &Name,
        name: &Name,
        change: &ConfigChange,
        work: &mut Vec<LogChange>,
    ) -> Result<Outcome, Refusal> {
        let mut topic = Topic::clone(self.topic(namespace, name)?);
        let config = match change {
            ConfigChange::Replace(config) => config.clone(),
            ConfigChange::Edit(edits) => {
                let mut config = Config::clone(&topic.config);
                for (key, value) in edits {
                    match value {
                        Some(value) => config.0.insert(key.clone(), value.clone()),
                        None => config.0.remove(key),
                    };
                }
                config
            }
        };
        if config.key_index() != topic.config.key_index() {
            let why = format!("{KEY_INDEX} is as the topic was created with");
            return Err(invalid(name, why));
        }
        if config != *topic.config {
            let log_config = LogConfig::of_topic(&config);
            work.extend(
                topic
                    .partitions
                    .iter()
                    .map(|log| LogChange::AlterLog { log: *log, config: log_config }),
            );
            topic.config = Arc::new(config);
            self.put_topic(namespace, topic.clone());
        }
        Ok(Outcome::of_topic(&topic, false))
    }

    pub(super) fn declare_subscription(
        &mut self,
        namespace: &Name,
        topic_name: &Name,
        name: &Name,
        work: &mut Vec<LogChange>,
    ) -> Result<Outcome, Refusal> {
        let topic = self.topic(namespace, topic_name)?;
        if let Some(subscription) = topic.subscriptions.get(name) {
            return Ok(Outcome::of_subscription(topic, *subscription, false));
        }
        naming::check(Thing::Subscription, name)?;
        self.check_room(0, 1)?;
        let mut topic = Topic::clone(topic);
        let shard = topic.partitions.first().map_or_else(Default::default, |log| log.shard);
        let full_name = Arc::new((Name::clone(namespace), Name::clone(topic_name)));
        let subscription = self.next_subscription(shard, full_name);
        work.push(LogChange::CreateSubscription {
            subscription,
            over: topic.partitions.to_vec(),
            options: SubscriptionOptions { primary: false, queue: QueueOptions::plain() },
        });
        topic.subscriptions.insert(Name::clone(name), subscription);
        let outcome = Outcome::of_subscription(&topic, subscription, true);
        self.put_topic(namespace, topic);
        Ok(outcome)
    }

    pub(super) fn delete_subscription(
        &mut self,
        namespace: &Name,
        topic_name: &Name,
        name: &Name,
        work: &mut Vec<LogChange>,
    ) -> Result<Outcome, Refusal> {
        let mut topic = Topic::clone(self.topic(namespace, topic_name)?);
        let Some(subscription) = topic.subscriptions.remove(name) else {
            return Err(Refusal::NotFound { what: Thing::Subscription, name: Name::clone(name) });
        };
        self.drop_subscription(subscription, work);
        self.put_topic(namespace, topic);
        Ok(Outcome::Deleted(Deleted::default()))
    }

    fn topic(&self, namespace: &str, name: &Name) -> Result<&Topic, Refusal> {
        match self.scope(namespace).and_then(|scope| scope.names.get(name)) {
            Some(Found::Topic(topic)) => Ok(topic),
            Some(Found::Queue(_)) => Err(clash(name, Thing::Queue)),
            None => Err(Refusal::NotFound { what: Thing::Topic, name: Name::clone(name) }),
        }
    }

    fn put_topic(&mut self, namespace: &Name, topic: Topic) {
        let name = Name::clone(&topic.name);
        self.scope_mut(namespace).names.insert(name, Found::Topic(Arc::new(topic)));
    }
}

fn check_partitions(name: &Name, count: u32) -> Result<(), Refusal> {
    if count == 0 {
        return Err(invalid(name, "a topic has at least one partition".to_owned()));
    }
    if count > PARTITIONS_MAX {
        return Err(Refusal::TooMany { what: Thing::Topic, limit: u64::from(PARTITIONS_MAX) });
    }
    Ok(())
}

fn clash(name: &Name, current: Thing) -> Refusal {
    Refusal::KindClash { name: Name::clone(name), current }
}

fn invalid(name: &Name, why: String) -> Refusal {
    Refusal::Invalid { what: Thing::Topic, name: Name::clone(name), why }
}
