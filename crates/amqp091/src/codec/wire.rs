//! Argument fields of methods, packed as the specification has them: bits share octets.

use super::Table;
use record::Fault;
use record::Malformed;
use record::cursor::Cursor;

/// Longest short string, in bytes.
pub(crate) const SHORT_BYTES_MAX: usize = 255;

/// Reads arguments one after another.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    cursor: Cursor<'a>,
    bits: u8,
    bits_left: u8,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { cursor: Cursor::new(bytes), bits: 0, bits_left: 0 }
    }

    pub(super) fn finish(self) -> Result<(), Malformed> {
        match self.cursor.left() {
            0 => Ok(()),
            _ => Err(self.cursor.fault(Fault::Count)),
        }
    }
}

/// Writes arguments one after another.
#[derive(Debug)]
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    bits_used: u8,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Writer<'o> {
        Writer { out, bits_used: 0 }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.bits_used = 0;
        self.out.extend_from_slice(bytes);
    }
}

/// A type of argument.
pub(super) trait Field<'a>: Sized {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed>;
    fn write(&self, writer: &mut Writer<'_>);
}

macro_rules! number {
    ($($kind:ident)*) => {$(
        impl<'a> Field<'a> for $kind {
            #[inline]
            fn read(reader: &mut Reader<'a>) -> Result<$kind, Malformed> {
                reader.bits_left = 0;
                reader.cursor.$kind()
            }

            #[inline]
            fn write(&self, writer: &mut Writer<'_>) {
                writer.bytes(&self.to_be_bytes());
            }
        }
    )*};
}

number!(u8 u16 u32 u64);

impl<'a> Field<'a> for bool {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<bool, Malformed> {
        if reader.bits_left == 0 {
            reader.bits = reader.cursor.u8()?;
            reader.bits_left = 8;
        }
        let set = reader.bits & 1 != 0;
        reader.bits >>= 1;
        reader.bits_left -= 1;
        Ok(set)
    }

    #[inline]
    fn write(&self, writer: &mut Writer<'_>) {
        if writer.bits_used == 0 {
            writer.out.push(0);
        }
        if let Some(last) = writer.out.last_mut() {
            *last |= u8::from(*self) << writer.bits_used;
        }
        writer.bits_used = (writer.bits_used + 1) % 8;
    }
}

/// A short string; RabbitMQ insists on UTF-8.
impl<'a> Field<'a> for &'a str {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<&'a str, Malformed> {
        reader.bits_left = 0;
        let bytes = short(&mut reader.cursor)?;
        std::str::from_utf8(bytes).map_err(|_| reader.cursor.fault(Fault::Invalid))
    }

    /// A longer one is cut, so that what follows stays in step.
    #[inline]
    fn write(&self, writer: &mut Writer<'_>) {
        writer.bits_used = 0;
        push_short(writer.out, self.as_bytes());
    }
}

/// A long string.
impl<'a> Field<'a> for &'a [u8] {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
        reader.bits_left = 0;
        long(&mut reader.cursor)
    }

    #[inline]
    fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(&(self.len() as u32).to_be_bytes());
        writer.bytes(self);
    }
}

impl<'a> Field<'a> for Table<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Table<'a>, Malformed> {
        reader.bits_left = 0;
        Ok(Table::of(long(&mut reader.cursor)?))
    }

    #[inline]
    fn write(&self, writer: &mut Writer<'_>) {
        self.bytes().write(writer);
    }
}

#[inline]
pub(super) fn short<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Malformed> {
    let length = cursor.u8()?;
    cursor.take(usize::from(length))
}

#[inline]
pub(super) fn long<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Malformed> {
    let length = cursor.u32()?;
    cursor.take(length as usize)
}

/// Appends a short string, cut to what fits.
#[inline]
pub(crate) fn push_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..cut(bytes)];
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

/// Length to which a short string is cut: within a character never.
#[inline]
fn cut(bytes: &[u8]) -> usize {
    if bytes.len() <= SHORT_BYTES_MAX {
        return bytes.len();
    }
    let continues = |at: usize| bytes[at] & 0xc0 == 0x80;
    let least = SHORT_BYTES_MAX - 3;
    (least..=SHORT_BYTES_MAX).rev().find(|&at| !continues(at)).unwrap_or(SHORT_BYTES_MAX)
}
