//! What messages bear besides a body, and what their queue is told to do with it.
//!
//! Options: `--arguments NAME=VALUE,…` of the queue; `--priorities 10`, `--keys 10000` (in the header
//! `key`), `--ids 1` (in `x-deduplication-header`) and `--delay MS` (in `x-delay`): what each message bears.

use crate::Args;

/// Persistent messages have this delivery mode.
const PERSISTENT: u8 = 2;

#[derive(Debug)]
pub struct Marks {
    mode: u8,
    priorities: u64,
    keys: u64,
    ids: bool,
    delay_ms: u64,
    /// The number of the next message.
    next: u64,
}

impl Marks {
    pub fn of(args: &Args) -> Marks {
        Marks {
            mode: if args.flag("persistent", true) { PERSISTENT } else { 1 },
            priorities: args.number("priorities", 0),
            keys: args.number("keys", 0),
            ids: args.flag("ids", false),
            delay_ms: args.number("delay", 0),
            next: 0,
        }
    }

    /// Appends flags and list of the next message's properties.
    pub fn properties(&mut self, out: &mut Vec<u8>) {
        let number = self.next;
        self.next += 1;
        let has_headers = self.keys > 0 || self.ids || self.delay_ms > 0;
        let flags = 0x10 | u8::from(has_headers) << 5 | u8::from(self.priorities > 0) << 3;
        out.extend([flags, 0]);
        if has_headers {
            let start = out.len();
            out.extend([0; 4]);
            if self.keys > 0 {
                // In an order that has nothing to do with the keys.
                let key = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % self.keys;
                text(out, "key", &key.to_string());
            }
            if self.ids {
                text(out, "x-deduplication-header", &number.to_string());
            }
            if self.delay_ms > 0 {
                integer(out, "x-delay", self.delay_ms as i32);
            }
            let length = (out.len() - start - 4) as u32;
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
        out.push(self.mode);
        if self.priorities > 0 {
            out.push((number % self.priorities) as u8);
        }
    }
}

/// The arguments of `--arguments`, as a field table without its length.
pub fn arguments(args: &Args) -> Vec<u8> {
    let mut table = Vec::new();
    let given = args.text("arguments", "");
    for pair in given.split(',').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or_else(|| panic!("--arguments {pair}"));
        match (value, value.parse()) {
            ("true", _) => {
                name_of(&mut table, name);
                table.extend(*b"t\x01");
            }
            (_, Ok(value)) => integer(&mut table, name, value),
            _ => text(&mut table, name, value),
        }
    }
    table
}

fn name_of(out: &mut Vec<u8>, name: &str) {
    out.push(name.len() as u8);
    out.extend(name.as_bytes());
}

pub fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    name_of(out, name);
    out.push(b'S');
    out.extend((value.len() as u32).to_be_bytes());
    out.extend(value.as_bytes());
}

pub fn integer(out: &mut Vec<u8>, name: &str, value: i32) {
    name_of(out, name);
    out.push(b'I');
    out.extend(value.to_be_bytes());
}
