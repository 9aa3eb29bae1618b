//! An answer whose messages are settled once it was written: a client that goes away before that
//! leaves them in the queue, and an answer that is complete says that they are settled for good.

use bytes::Bytes;
use http_body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll};
use types::Error;

/// How often the connection is let run before the messages are settled, so that it writes.
const TURNS: u32 = 2;

type Settling = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A body of one piece that ends after `settle`.
pub(crate) struct Acking {
    bytes: Option<Bytes>,
    turns: u32,
    settle: Option<Settling>,
}

impl Acking {
    /// `settle` owns the leases: dropped before it ran, they return.
    pub(crate) fn new(
        bytes: Vec<u8>,
        settle: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) -> Acking {
        Acking { bytes: Some(bytes.into()), turns: 0, settle: Some(Box::pin(settle)) }
    }
}

impl Body for Acking {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.turns < TURNS {
            self.turns += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(settle) = self.settle.as_mut() else { return Poll::Ready(None) };
        match settle.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(result) => {
                self.settle = None;
                Poll::Ready(result.err().map(Err))
            }
        }
    }
}
