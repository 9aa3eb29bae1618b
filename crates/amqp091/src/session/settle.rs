//! Acknowledgements, and the channel modes: confirms and transactions.

use super::transaction::Transaction;
use super::{AmqpSession, Step, Taken};
use crate::codec::Method;
use crate::errors::{self, Code, Exception};
use engine::api::Disposition;
use frontend::Cx;

impl AmqpSession {
    /// basic.ack, basic.nack and basic.reject.
    #[inline]
    pub(super) fn settle(
        &mut self,
        number: u16,
        tag: u64,
        multiple: bool,
        disposition: Disposition,
    ) -> Result<Taken, Exception> {
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(Taken::Yes) };
        let (holdings, settles) = (&mut channel.holdings, &mut self.settles);
        if !multiple && channel.lane.transaction.is_none() {
            let entry = holdings.take(tag).ok_or_else(|| errors::unknown_delivery_tag(tag))?;
            holdings.settled(&entry, disposition, settles);
            return Ok(Taken::Yes);
        }
        let mut entries = Vec::new();
        if multiple {
            if !holdings.take_through((tag != 0).then_some(tag), |entry| entries.push(entry)) {
                return Err(errors::unknown_delivery_tag(tag));
            }
        } else {
            entries.push(holdings.take(tag).ok_or_else(|| errors::unknown_delivery_tag(tag))?);
        }
        for entry in entries {
            match &mut channel.lane.transaction {
                Some(transaction) => transaction.settle(entry, disposition)?,
                None => holdings.settled(&entry, disposition, settles),
            }
        }
        Ok(Taken::Yes)
    }

    /// Returns everything that is unsettled, to be delivered again.
    pub(super) fn recover(&mut self, number: u16, requeue: bool) -> Result<(), Exception> {
        if !requeue {
            return Err(Exception::new(Code::NotImplemented, "requeue=false"));
        }
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let mut entries = Vec::new();
        channel.holdings.take_through(None, |entry| entries.push(entry));
        let mut kept = Vec::new();
        for entry in entries {
            match channel.holdings.returnable(entry.holder) {
                true => channel.holdings.settled(&entry, Disposition::Released, &mut self.settles),
                false => kept.push(entry),
            }
        }
        channel.holdings.unsettle(kept.into_iter());
        Ok(())
    }

    pub(super) fn confirm_select(&mut self, number: u16, nowait: bool) -> Result<(), Exception> {
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        if channel.lane.transaction.is_some() {
            let text = "cannot switch from tx to confirm mode";
            return Err(Exception::new(Code::PreconditionFailed, text));
        }
        channel.lane.confirms.get_or_insert_default();
        if !nowait {
            self.link.send(number, &Method::ConfirmSelectOk {});
        }
        Ok(())
    }

    pub(super) fn tx_select(&mut self, number: u16) -> Result<(), Exception> {
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        if channel.lane.confirms.is_some() {
            let text = "cannot switch from confirm to tx mode";
            return Err(Exception::new(Code::PreconditionFailed, text));
        }
        channel.lane.transaction.get_or_insert_default();
        self.link.send(number, &Method::TxSelectOk {});
        Ok(())
    }

    pub(super) fn tx_commit(&mut self, number: u16, cx: &mut Cx<'_>) -> Result<(), Exception> {
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let transaction = channel.lane.transaction.as_mut().ok_or_else(not_transactional)?;
        let (returns, ops) = transaction.commit(&mut channel.holdings, cx.time());
        self.link.out.extend_from_slice(&returns);
        if ops.is_empty() {
            self.link.send(number, &Method::TxCommitOk {});
            return Ok(());
        }
        self.publisher.flush(cx);
        let tokens = ops.into_iter().map(|op| cx.submit(op)).collect();
        self.ask_all(tokens, number, (90, 20), Step::Commit, cx);
        Ok(())
    }

    pub(super) fn tx_rollback(&mut self, number: u16) -> Result<(), Exception> {
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let transaction: &mut Transaction =
            channel.lane.transaction.as_mut().ok_or_else(not_transactional)?;
        transaction.roll_back(&mut channel.holdings);
        self.link.send(number, &Method::TxRollbackOk {});
        Ok(())
    }
}

fn not_transactional() -> Exception {
    Exception::new(Code::PreconditionFailed, "channel is not transactional")
}
