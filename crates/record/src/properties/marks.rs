//! The `_mc` header: types of user headers, and the origin's own bytes.

use super::text;
use super::value::{VALUE_BYTES_MAX, Value, code};
use crate::cursor::Cursor;
use crate::{Fault, Malformed};
use crate::{tail, varint};

const VERSION: u8 = 1;
const TAG_MARKS: u8 = 1;
const TAG_RAW: u8 = 2;
const TAG_COPIES: u8 = 3;
const TAG_HISTORY: u8 = 4;
const ENCODED_BIT: u8 = 0x80;

/// The type of one user header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<'a> {
    /// Which header, from 0, not counting `_mc`.
    pub index: u32,
    kind: u8,
    encoded: Option<&'a [u8]>,
}

impl Mark<'_> {
    /// The header's typed value; none when its plain form has since become another.
    pub fn value(&self, text: Option<&[u8]>) -> Option<Value> {
        match self.encoded {
            Some(encoded) => Value::decode(encoded).ok(),
            None => text::parse(self.kind, text),
        }
    }

    /// Plain text after all, under a name that would otherwise not be the user's.
    pub fn is_string(&self) -> bool {
        self.kind == code::STRING
    }
}

/// The marks of a record, in order; ends at the first that does not decode.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks<'a> {
    rest: &'a [u8],
}

impl Marks<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Marks<'a> {
    type Item = Mark<'a>;

    fn next(&mut self) -> Option<Mark<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let mut cursor = Cursor::new(self.rest);
        let mark = mark_at(&mut cursor).ok();
        self.rest = if mark.is_some() { cursor.rest() } else { &[] };
        mark
    }
}

/// What an `_mc` header holds.
pub(super) struct Content<'a> {
    pub(super) origin: u8,
    pub(super) marks: Marks<'a>,
    pub(super) raw: Option<&'a [u8]>,
    pub(super) copies: &'a [u8],
    pub(super) history: Option<&'a [u8]>,
}

/// Takes an `_mc` header apart; none when it is not one of ours.
pub(super) fn decode(bytes: &[u8]) -> Option<Content<'_>> {
    let mut cursor = Cursor::new(bytes);
    if cursor.u8().ok()? != VERSION {
        return None;
    }
    let origin = cursor.u8().ok()?;
    let mut content =
        Content { origin, marks: Marks::default(), raw: None, copies: &[], history: None };
    while cursor.left() > 0 {
        let tag = cursor.u8().ok()?;
        let length = cursor.unsigned_varint().ok()? as usize;
        let section = cursor.take(length).ok()?;
        match tag {
            TAG_MARKS => content.marks = Marks { rest: section },
            TAG_RAW => content.raw = Some(section),
            TAG_COPIES => content.copies = section,
            TAG_HISTORY => content.history = Some(section),
            _ => {}
        }
    }
    Some(content)
}

/// What a header holds beside the marks.
#[derive(Clone, Copy, Default)]
pub(super) struct Sections<'a> {
    pub(super) raw: Option<&'a [u8]>,
    pub(super) copies: &'a [u8],
    pub(super) history: Option<&'a [u8]>,
}

/// Collects marks, then writes the header.
pub(super) struct Writer {
    origin: u8,
    marks: Vec<u8>,
}

impl Writer {
    pub(super) fn new(origin: u8) -> Writer {
        Writer { origin, marks: Vec::new() }
    }

    /// Marks the header at `index`, if its plain form alone would give another value back.
    pub(super) fn mark(
        &mut self,
        index: usize,
        reserved: bool,
        value: &Value,
    ) -> Result<(), Malformed> {
        let plain = match value {
            Value::Null | Value::String(_) => true,
            Value::Bytes(bytes) => std::str::from_utf8(bytes).is_err(),
            _ => false,
        };
        if plain && !reserved {
            return Ok(());
        }
        varint::push_unsigned(&mut self.marks, index as u64);
        if text::says_all(value) {
            self.marks.push(value.code());
            return Ok(());
        }
        self.marks.push(value.code() | ENCODED_BIT);
        let mut encoded = Vec::new();
        value.encode(&mut encoded);
        if encoded.len() > VALUE_BYTES_MAX {
            return Err(Malformed::new(index, Fault::TooLarge));
        }
        varint::push_unsigned(&mut self.marks, encoded.len() as u64);
        self.marks.extend_from_slice(&encoded);
        Ok(())
    }

    pub(super) fn marked(&self) -> bool {
        !self.marks.is_empty()
    }

    pub(super) fn finish(self, sections: &Sections<'_>) -> Vec<u8> {
        let mut out = vec![VERSION, self.origin];
        if !self.marks.is_empty() {
            push_section(&mut out, TAG_MARKS, &self.marks);
        }
        if let Some(raw) = sections.raw {
            push_section(&mut out, TAG_RAW, raw);
        }
        if !sections.copies.is_empty() {
            push_section(&mut out, TAG_COPIES, sections.copies);
        }
        if let Some(history) = sections.history {
            push_section(&mut out, TAG_HISTORY, history);
        }
        out
    }
}

/// Appends the value of a header, with its length, that has nothing but marks: what they take in bytes,
/// and the headers with the codes of their types, in rising order.
pub(super) fn push_marked(
    out: &mut Vec<u8>,
    origin: u8,
    (bytes, marks): (usize, impl Iterator<Item = (u64, u8)>),
) {
    tail::push_length(out, 3 + varint::unsigned_bytes_of(bytes as u64) + bytes);
    out.extend_from_slice(&[VERSION, origin, TAG_MARKS]);
    varint::push_unsigned(out, bytes as u64);
    for (index, code) in marks {
        varint::push_unsigned(out, index);
        out.push(code);
    }
}

fn push_section(out: &mut Vec<u8>, tag: u8, section: &[u8]) {
    out.push(tag);
    varint::push_unsigned(out, section.len() as u64);
    out.extend_from_slice(section);
}

fn mark_at<'a>(cursor: &mut Cursor<'a>) -> Result<Mark<'a>, Malformed> {
    let index = cursor.unsigned_varint()?;
    let kind = cursor.u8()?;
    let encoded = match kind & ENCODED_BIT {
        0 => None,
        _ => {
            let length = cursor.unsigned_varint()? as usize;
            Some(cursor.take(length)?)
        }
    };
    Ok(Mark { index, kind: kind & !ENCODED_BIT, encoded })
}
