//! What the data shards hold for the names there are.

use super::Catalog;
use crate::entry::{Found, QueueOptions};
use crate::outcome::{LogChange, LogConfig, SubscriptionOptions};

impl Catalog {
    /// Changes that give the data shards everything the layer names, were it not there: a log before
    /// the subscriptions over it. What is on a shard and in none of them, no name leads to.
    pub fn everything(&self) -> impl Iterator<Item = LogChange> {
        let found = self.names.namespaces.values().flat_map(|scope| scope.names.values());
        found.flat_map(create)
    }
}

fn create(found: &Found) -> Vec<LogChange> {
    let mut work = Vec::new();
    let config = match found {
        Found::Topic(topic) => LogConfig::of_topic(&topic.config),
        Found::Queue(queue) => LogConfig::of_queue(&queue.options),
    };
    work.extend(found.logs().iter().map(|log| LogChange::CreateLog { log: *log, config }));
    let over = found.logs().to_vec();
    match found {
        Found::Topic(topic) => work.extend(topic.subscriptions.values().map(|subscription| {
            let options = SubscriptionOptions { primary: false, queue: QueueOptions::plain() };
            LogChange::CreateSubscription {
                subscription: *subscription,
                over: over.clone(),
                options,
            }
        })),
        Found::Queue(queue) => work.push(LogChange::CreateSubscription {
            subscription: queue.subscription,
            over,
            options: SubscriptionOptions::of_queue(&queue.options),
        }),
    }
    work
}
