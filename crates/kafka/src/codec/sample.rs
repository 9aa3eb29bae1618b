//! Generates messages from a seed: every field that a version has, with edge values.

use super::records::Records;
use crate::errors::ErrorCode;
use bytes::Bytes;
use uuid::Uuid;

/// A source of choices for one message in one version (SplitMix64).
#[derive(Debug)]
pub(crate) struct Dice {
    state: u64,
    version: i16,
}

/// A value that can be generated.
pub(crate) trait Sample: Sized {
    fn sample(dice: &mut Dice) -> Self;

    /// The null of a type that has one.
    fn null() -> Option<Self> {
        None
    }
}

impl Dice {
    pub(crate) fn new(seed: u64, version: i16) -> Dice {
        Dice { state: seed, version }
    }

    pub(crate) fn version(&self) -> i16 {
        self.version
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn field<T: Sample>(&mut self, nullable: bool) -> T {
        if nullable && self.below(4) == 0 {
            return T::null().expect("only types with a null are declared nullable");
        }
        T::sample(self)
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(dice: &mut Dice) -> Option<T> {
        Some(T::sample(dice))
    }

    fn null() -> Option<Option<T>> {
        Some(None)
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(dice: &mut Dice) -> Vec<T> {
        (0..dice.below(4)).map(|_| T::sample(dice)).collect()
    }
}

macro_rules! integers {
    ($($ty:ty),*) => {
        $(impl Sample for $ty {
            fn sample(dice: &mut Dice) -> $ty {
                match dice.below(6) {
                    0 => -1,
                    1 => <$ty>::MAX,
                    2 => <$ty>::MIN,
                    3 => dice.below(100) as $ty,
                    _ => dice.next() as $ty,
                }
            }
        })*
    };
}

integers!(i8, i16, i32, i64);

impl Sample for ErrorCode {
    fn sample(dice: &mut Dice) -> ErrorCode {
        ErrorCode(i16::sample(dice))
    }
}

impl Sample for bool {
    fn sample(dice: &mut Dice) -> bool {
        dice.below(2) == 1
    }
}

impl Sample for Uuid {
    fn sample(dice: &mut Dice) -> Uuid {
        Uuid::from_u64_pair(dice.next(), dice.next())
    }
}

impl Sample for String {
    fn sample(dice: &mut Dice) -> String {
        match dice.below(8) {
            0 => String::new(),
            1 => "ü€𝄞".to_owned(),
            2 => "x".repeat(126 + dice.below(4)),
            _ => (0..dice.below(12)).map(|_| char::from(b'a' + dice.below(26) as u8)).collect(),
        }
    }
}

impl Sample for Bytes {
    fn sample(dice: &mut Dice) -> Bytes {
        (0..dice.below(40)).map(|_| dice.next() as u8).collect()
    }
}

impl Sample for Records {
    fn sample(dice: &mut Dice) -> Records {
        if dice.below(2) == 0 {
            return Records::whole(Bytes::sample(dice));
        }
        let mut records = Records::default();
        for _ in 0..dice.below(4) {
            let rest = vec![dice.next() as u8; dice.below(3_000)];
            records.push_batch([dice.next() as u8; 21], Bytes::from(rest));
        }
        records
    }
}
