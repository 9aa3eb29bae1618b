//! Changes of names: the catalog's decision, what the shards make of it, and the published snapshot.

use super::queue::{options_of, tell_gone};
use super::retrying::Retries;
use super::{Input, Worker};
use crate::api::{Op, Reply};
use crate::command::Command;
use catalog::{
    Action, Change, DeleteQueue, Found, LogChange, Name, Names, NodeId, Outcome, QueueKind, Refusal,
};
use ledger::Dispatch;
use std::sync::Arc;
use types::{ClientId, Offset, ShardId, SubscriptionRef, Token};

/// This node's number; a cluster gives each its own.
pub(crate) const NODE: NodeId = NodeId(0);

/// Somebody waits for a change of names to reach every shard.
#[derive(Debug)]
pub(crate) struct ChangeWait {
    pub(super) asker: Option<(ClientId, Token)>,
    pub(super) result: Box<Result<Outcome, Refusal>>,
    pub(super) left: usize,
}

impl Worker {
    pub(super) fn change(&mut self, client: ClientId, token: Token, op: Op) {
        let Op::Change { shard, change } = op else { return };
        let Some(seat) = self.seats.get_mut(&shard) else { return };
        if shard == ShardId::LOCAL
            && let Some(client) = self.clients.get_mut(client)
        {
            client.has_local_names = true;
        }
        let command = Command::Change(change);
        if let Err(error) = seat.client_command(command, (client, token)) {
            self.clients.reply(client, token, Err(error));
        }
    }

    /// A change of names that the engine wants itself.
    pub(super) fn propose(&mut self, mut change: Change) {
        let names = self.ports.names.load();
        let Ok(layer) = names.place(&mut change) else { return };
        let shard = crate::shard_of(layer);
        match self.seats.get_mut(&shard) {
            Some(seat) => {
                seat.command_now(Command::Change(Box::new(change)));
            }
            None if self.number > 0 => {
                self.ports.mailboxes[0].push(Input::Propose(Box::new(change)));
            }
            // Whoever leads the shard looks after it.
            None => {}
        }
    }

    /// Publishes the names as they are now.
    pub(crate) fn publish_names(&self) {
        let catalog = |shard| self.seat_of(shard)?.shard.catalog.as_ref();
        if let (Some(shared), Some(local)) = (catalog(ShardId(0)), catalog(ShardId::LOCAL)) {
            let names = Names { shared: shared.snapshot(), local: local.snapshot() };
            self.ports.names.store(Arc::new(names));
        }
    }

    /// A change was applied: passes on what other shards have to do, and answers when they have.
    pub(super) fn changed(
        &mut self,
        shard: ShardId,
        asker: Option<(ClientId, Token)>,
        result: Box<Result<Outcome, Refusal>>,
        follow: Vec<LogChange>,
    ) {
        if let Ok(outcome) = result.as_ref() {
            self.publish_names();
            self.tidy_after(shard, outcome);
        }
        if self.is_replica && shard != ShardId::LOCAL {
            return self.changed_between(shard, asker, result, follow);
        }
        let left = follow.len();
        let wait = ChangeWait { asker, result, left };
        if left == 0 {
            return self.answer_change(wait);
        }
        self.next_change += 1;
        let ticket = self.next_change;
        self.changes.insert(ticket, wait);
        for change in follow {
            let shard = change.shard();
            let from = self.number;
            match self.seats.contains_key(&shard) {
                true => self.follow(from, ticket, change),
                false => {
                    self.ports.worker_of(shard).push(Input::Follow { from, ticket, change });
                }
            }
        }
    }

    /// Another shard has to follow a change of names: puts it into that shard's next frame.
    pub(super) fn follow(&mut self, from: usize, ticket: u64, change: LogChange) {
        if let Some(seat) = self.seats.get_mut(&change.shard()) {
            let at = seat.command_now(Command::Log(change));
            seat.follows.push_back((seat.next_index(), at, from, ticket));
        }
    }

    /// One of the shards has followed.
    pub(super) fn followed(&mut self, ticket: u64) {
        let Some(wait) = self.changes.get_mut(&ticket) else { return };
        wait.left -= 1;
        if wait.left == 0
            && let Some(wait) = self.changes.remove(&ticket)
        {
            self.answer_change(wait);
        }
    }

    pub(super) fn answer_change(&mut self, wait: ChangeWait) {
        if let Some((client, token)) = wait.asker {
            self.clients.reply(client, token, Ok(Reply::Changed(wait.result)));
        }
    }

    /// What a change here means for the other layer: bindings that lost an end, and routers that
    /// were to go with their last binding.
    pub(super) fn tidy_after(&mut self, shard: ShardId, outcome: &Outcome) {
        let deleted = match outcome {
            Outcome::Deleted(deleted) | Outcome::Unbound { deleted, .. } => deleted,
            Outcome::Governed { namespace, .. } => return self.tell_policies(namespace),
            _ => return,
        };
        let names = self.ports.names.load_full();
        if shard != ShardId::LOCAL && !(deleted.queues.is_empty() && deleted.routers.is_empty()) {
            let forget = Action::Forget(deleted.clone());
            self.propose(Change::new(catalog::NAMESPACE_DEFAULT, forget));
        }
        for (namespace, name) in &deleted.released {
            let router = names.router(namespace, name);
            if router.is_some_and(|router| router.auto_delete) {
                let action = Action::DeleteRouter { name: Name::clone(name), if_unused: true };
                self.propose(Change::new(Name::clone(namespace), action));
            }
        }
    }

    /// What is in the local layer is under the policies of the shared one.
    fn tell_policies(&mut self, namespace: &Name) {
        let names = self.ports.names.load_full();
        if let Some(policies) = names.policies(namespace) {
            let adopt = Action::AdoptPolicies(Box::new(policies.clone()));
            self.propose(Change::new(Name::clone(namespace), adopt));
        }
    }

    /// A change of names as far as this worker's memory is concerned.
    pub(super) fn log_changed(&mut self, change: &LogChange) {
        match change {
            LogChange::CreateLog { .. } | LogChange::AlterLog { .. } => {}
            LogChange::DropLog(log) => {
                self.store.index.remove(log.log);
                self.store.losses.forget(log.log);
                self.drop_agenda(*log);
                self.drop_rota(*log);
                self.drop_keying(*log);
                self.end_tailers_of(*log);
                self.log_touched(log.shard, log.log);
            }
            LogChange::CreateSubscription { subscription, options, .. } => {
                self.wake_unless_idle(*subscription, &options.queue, None);
            }
            LogChange::ExtendSubscription { subscription, .. } => {
                let names = self.ports.names.load_full();
                let options = options_of(&names, *subscription);
                self.wake_unless_idle(*subscription, &options, None);
            }
            LogChange::AlterSubscription { subscription, options } => {
                self.alter_queue(*subscription, &options.queue);
            }
            LogChange::DropSubscription(subscription) => {
                let Some(seat) = self.seats.get_mut(&subscription.shard) else { return };
                seat.ready.remove(&subscription.subscription);
                seat.idle.forget(subscription.subscription);
                seat.dying.forget(subscription.subscription);
                seat.bounds.forget(subscription.subscription);
                if let Some(queue) = seat.queues.remove(&subscription.subscription) {
                    self.cancel_timers(&queue);
                    tell_gone(&mut self.clients, &queue);
                }
            }
        }
    }

    /// Lets a queue dispatch every log its subscription has a ledger for. `redelivered`: whatever
    /// is stored may have been delivered before.
    pub(super) fn join_logs(&mut self, subscription: SubscriptionRef, redelivered: Option<()>) {
        let Some(seat) = self.seats.get_mut(&subscription.shard) else { return };
        let id = subscription.subscription;
        let state = seat.shard.subscriptions.get(&id);
        let (Some(state), Some(queue)) = (state, seat.queues.get_mut(&id)) else { return };
        let mut waiting = Vec::new();
        for (log, ledger) in state.ledgers.iter() {
            let Some(known) = seat.shard.logs.get(&log) else { continue };
            let before: Option<Offset> = redelivered.map(|()| known.end);
            let mut dispatch = Dispatch::new(ledger, before);
            if queue.options.serving.single_active && !io::planted("active-consumer-shared") {
                dispatch.serve_one(queue.options.kind == QueueKind::Quorum);
            }
            if let Some(at_once) = queue.options.serving.of_a_key() {
                let more = u32::from(io::planted("key-cap-passed"));
                dispatch.order_by_key(ledger, at_once.saturating_add(more));
            }
            if queue.options.serving.sessions && !io::planted("session-shared") {
                dispatch.keep_sessions();
            }
            if let Some(rate) = queue.options.serving.pace.key_rate {
                dispatch.limit_rate_of_keys((rate.per_second, rate.burst), self.now);
            }
            if let Some(every) = queue.options.serving.oldest_every {
                dispatch.take_oldest_every(every);
            }
            for (key, options) in &queue.consumers {
                // A new log's dispatch has no consumer that could refuse another.
                let _ = dispatch.add(*key, *options);
            }
            if io::planted("retry-forgotten") {
                for (offset, _) in ledger.parked_from(ledger.floor()) {
                    dispatch.release(ledger, offset, ledger.returns(offset).unwrap_or(0));
                }
            }
            let retries = Retries::wanted(&queue.options, ledger, self.schedule_near_max);
            waiting.extend(retries.is_some().then_some(log));
            queue.add_log(log, dispatch, retries);
        }
        seat.ready.insert(id);
        waiting.into_iter().for_each(|log| self.rearm_retries(subscription, log));
    }

    /// The last consumer of an auto-delete queue takes it along.
    pub(super) fn last_consumer_left(&mut self, subscription: SubscriptionRef) {
        let Some(seat) = self.seats.get(&subscription.shard) else { return };
        let Some(queue) = seat.queues.get(&subscription.subscription) else { return };
        if !queue.consumers.is_empty() || !queue.was_consumed {
            return;
        }
        let names = self.ports.names.load_full();
        if let Some((namespace, Found::Queue(found))) =
            names.find_by_subscription(subscription.subscription)
            && found.auto_delete
        {
            self.delete_queue(namespace, &found.name, subscription);
        }
    }

    /// Deletes the queue a subscription belongs to, if it still does.
    pub(super) fn delete_queue(
        &mut self,
        namespace: &Name,
        name: &Name,
        subscription: SubscriptionRef,
    ) {
        let names = self.ports.names.load_full();
        let by = match names.find(namespace, name) {
            Some(Found::Queue(queue)) => queue.exclusive,
            _ => None,
        };
        let delete =
            DeleteQueue { name: Name::clone(name), by, only: Some(subscription.subscription) };
        self.propose(Change::new(Name::clone(namespace), Action::DeleteQueue(delete)));
    }

    /// A connection ended: what was exclusive to it goes.
    pub(super) fn remove_client_names(&mut self, client: ClientId) {
        self.propose(Change::remove_client(NODE, client));
    }
}
