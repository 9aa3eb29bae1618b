//! How far it is, on a terminal.

use io::{Clock as _, SystemClock};
use std::io::{IsTerminal as _, Write as _, stderr};

const WIDTH: u64 = 30;

/// Microseconds between two drawings.
const PAUSE_US: u64 = 100_000;

/// A line on standard error that is drawn again and again; nothing where that is no terminal.
#[derive(Debug)]
pub(super) struct Bar {
    clock: SystemClock,
    shown: bool,
    drawn_us: u64,
    done: u64,
    total: u64,
}

impl Bar {
    pub(super) fn new(total: u64) -> Bar {
        let shown = stderr().is_terminal();
        Bar { clock: SystemClock::new(), shown, drawn_us: 0, done: 0, total }
    }

    /// So many more messages are done, of this queue.
    pub(super) fn advance(&mut self, count: u64, queue: &str) {
        self.done += count;
        let now_us = self.clock.micros();
        if self.shown && now_us >= self.drawn_us + PAUSE_US {
            self.drawn_us = now_us;
            let line = line(self.done, self.total, now_us, queue);
            // A terminal that is gone is no reason to stop.
            let _ = write!(stderr().lock(), "\r\x1b[K{line}");
        }
    }

    /// Makes room for other output.
    pub(super) fn clear(&mut self) {
        if self.shown {
            let _ = write!(stderr().lock(), "\r\x1b[K");
        }
    }

    /// Seconds since the beginning.
    pub(super) fn seconds(&self) -> f64 {
        self.clock.micros() as f64 / 1e6
    }
}

fn line(done: u64, total: u64, us: u64, queue: &str) -> String {
    // More may have come since it was counted.
    let total = total.max(done).max(1);
    let full = (done * WIDTH / total) as usize;
    let bar = format!("{}{}", "#".repeat(full), " ".repeat(WIDTH as usize - full));
    let percent = done * 100 / total;
    let rate = done * 1_000_000 / us.max(1);
    let queue: String = queue.chars().filter(|it| !it.is_control()).take(40).collect();
    format!("[{bar}] {percent:>3} %  {done} of {total} messages, {rate}/s, {queue}")
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn line_tells_how_far_it_is() {
        let told = line(500, 1000, 2_000_000, "q\u{7}");
        assert_eq!(
            told,
            format!("[{}{}]  50 %  500 of 1000 messages, 250/s, q", "#".repeat(15), " ".repeat(15))
        );
        assert!(line(3, 0, 0, "q").contains("100 %  3 of 3 messages"), "{}", line(3, 0, 0, "q"));
    }
}
