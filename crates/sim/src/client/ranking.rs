//! The order in which the queue with priorities delivers.

use super::SimClient;
use crate::model::{Id, Violation, broken, level_of};
use std::cmp::Reverse;
use types::Offset;

impl SimClient {
    /// What is ready comes by priority, and then by arrival.
    pub(super) fn in_rank(&mut self, id: Id, offset: Offset) -> Result<(), Violation> {
        let Some(last) = &mut self.ranked else { return Ok(()) };
        let place = (Reverse(level_of(id)), offset);
        match last.replace(place) {
            Some(before) if before > place => {
                broken(format!("{id:?} at {offset} comes after {before:?}, and is before it"))
            }
            _ => Ok(()),
        }
    }
}
