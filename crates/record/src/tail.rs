//! The tail of a record: everything of it that does not depend on its place in a batch.
//!
//! A tail is a record of magic 2 after `offsetDelta`: key, value and headers, each with a varint
//! length where -1 is null.
//!
//! Source: Kafka protocol, "Record" and "Record Header".

#[cfg(test)]
mod tests;

use crate::cursor::Cursor;
use crate::varint;
use crate::{Fault, Malformed};

/// A decoded tail, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct TailView<'a> {
    /// Key, if any; an empty one is not none.
    pub key: Option<&'a [u8]>,
    /// Value, if any; an empty one is not none.
    pub value: Option<&'a [u8]>,
    /// Headers in order, duplicates kept.
    pub headers: Headers<'a>,
}

/// The headers of a record, in order. Those of [`decode`] were checked, so the walk does not end early.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// How many are left.
    pub count: u32,
    /// Their encoded bytes.
    pub raw: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let mut cursor = Cursor::new(self.raw);
        let header = header_at(&mut cursor).ok()?;
        self.raw = cursor.rest();
        Some(header)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.count as usize))
    }
}

/// Appends a whole tail.
pub fn encode<'a, I>(out: &mut Vec<u8>, key: Option<&[u8]>, value: Option<&[u8]>, headers: I)
where
    I: ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
{
    push_bytes(out, key);
    push_bytes(out, value);
    push_count(out, headers.len());
    for (name, value) in headers {
        push_header(out, name, value);
    }
}

/// Appends a nullable byte string: a key, or a value that is at hand in one piece.
#[inline]
pub fn push_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::push(out, -1),
        Some(bytes) => {
            push_length(out, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
}

/// Appends the length of a value whose bytes the caller appends itself, in pieces.
#[inline]
pub fn push_length(out: &mut Vec<u8>, bytes: usize) {
    varint::push(out, bytes as i64);
}

/// Appends the number of headers that follow.
#[inline]
pub fn push_count(out: &mut Vec<u8>, header_count: usize) {
    varint::push(out, header_count as i64);
}

/// Appends one header.
#[inline]
pub fn push_header(out: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    push_length(out, name.len());
    out.extend_from_slice(name);
    push_bytes(out, value);
}

/// Decodes a tail; the headers are checked too, and no byte may be left over.
#[inline]
pub fn decode(bytes: &[u8]) -> Result<TailView<'_>, Malformed> {
    let mut cursor = Cursor::new(bytes);
    let key = cursor.nullable_bytes()?;
    let value = cursor.nullable_bytes()?;
    let count = cursor.varint()?;
    let count = u32::try_from(count).map_err(|_| cursor.fault(Fault::Invalid))?;
    let headers = Headers { count, raw: cursor.rest() };
    for _ in 0..count {
        header_at(&mut cursor)?;
    }
    if cursor.left() > 0 {
        return Err(cursor.fault(Fault::Count));
    }
    Ok(TailView { key, value, headers })
}

/// The headers of a tail, which are not checked: the walk ends at the first that does not decode.
#[inline]
pub fn headers(bytes: &[u8]) -> Result<Headers<'_>, Malformed> {
    let mut cursor = Cursor::new(bytes);
    cursor.nullable_bytes()?;
    cursor.nullable_bytes()?;
    let count = cursor.varint()?;
    let count = u32::try_from(count).map_err(|_| cursor.fault(Fault::Invalid))?;
    Ok(Headers { count, raw: cursor.rest() })
}

#[inline]
fn header_at<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a [u8], Option<&'a [u8]>), Malformed> {
    let Some(name) = cursor.nullable_bytes()? else {
        return Err(cursor.fault(Fault::Invalid));
    };
    Ok((name, cursor.nullable_bytes()?))
}
