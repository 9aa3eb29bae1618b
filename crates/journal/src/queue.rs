//! Frames that wait for a round.

use std::collections::VecDeque;

use crate::frame::FrameDraft;
use crate::open::Options;

/// Frames in the order they came, bounded in bytes. A frame with a batch above the part size
/// travels in several rounds; frames of other shards pass it, those of its own shard wait.
#[derive(Debug)]
pub struct Queue {
    frames: VecDeque<FrameDraft>,
    bytes: usize,
    bytes_max: usize,
}

/// A frame that was not taken.
#[derive(Debug)]
pub enum Refused {
    /// The queue is full; the frame comes back.
    Full(Box<FrameDraft>),
    /// No round can hold it: its commands and tables, or their counts, pass a limit of the format.
    TooLarge(Box<FrameDraft>),
}

impl Queue {
    /// A queue that takes frames until they have `bytes_max` bytes; one frame is always taken.
    pub fn new(bytes_max: usize, _options: &Options) -> Queue {
        Queue { frames: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds a frame.
    pub fn push(&mut self, draft: FrameDraft) -> Result<(), Refused> {
        if self.bytes >= self.bytes_max {
            return Err(Refused::Full(Box::new(draft)));
        }
        self.frames.push_back(draft);
        Ok(())
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}
