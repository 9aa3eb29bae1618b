//! Variable-length integers: 7 bits a byte, least significant group first.
//!
//! Source: Kafka protocol, "Protocol Primitive Types" (VARINT, VARLONG, UNSIGNED_VARINT).

/// Most bytes of one encoded 64-bit value.
pub const BYTES_MAX: usize = 10;

/// Appends an unsigned value.
#[inline]
pub fn push_unsigned(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(value as u8);
    } else {
        push_long(out, value);
    }
}

fn push_long(out: &mut Vec<u8>, mut value: u64) {
    let mut encoded = [0; BYTES_MAX];
    let mut count = 0;
    while value >= 0x80 {
        encoded[count] = (value as u8) | 0x80;
        value >>= 7;
        count += 1;
    }
    encoded[count] = value as u8;
    out.extend_from_slice(&encoded[..=count]);
}

/// Appends a signed value, zigzag-coded; the same for VARINT and VARLONG.
#[inline]
pub fn push(out: &mut Vec<u8>, value: i64) {
    push_unsigned(out, zigzag(value));
}

/// Bytes that [`push`] writes.
#[inline]
pub fn bytes_of(value: i64) -> usize {
    unsigned_bytes_of(zigzag(value))
}

/// Bytes that [`push_unsigned`] writes.
#[inline]
pub fn unsigned_bytes_of(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Maps small magnitudes of either sign to small unsigned values.
#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[inline]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
