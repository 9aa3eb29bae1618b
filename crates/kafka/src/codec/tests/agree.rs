//! Every message in every version: what we write, we and the oracle read the same, and what the
//! oracle writes is what we wrote.

use super::{Subject, body, for_every_api};
use crate::apis;
use crate::codec::Reader;
use crate::codec::sample::Dice;
use bytes::BytesMut;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;
use std::fmt::Debug;

/// Fields of versions that the oracle has and we do not, at their defaults.
const NEWER: &[&str] = &[
    ", enable_2_pc: false",
    ", keep_prepared_txn: false",
    ", ongoing_txn_producer_id: -1",
    ", ongoing_txn_producer_epoch: -1",
    ", topic_id: 00000000-0000-0000-0000-000000000000",
];

fn agrees<O: Subject, T: Encodable + Decodable + Debug>() {
    let api = apis::find(O::KEY).expect("every message belongs to an API that is served");
    assert_eq!((api.versions(), api.flexible_from), (O::VERSIONS, O::FLEXIBLE_FROM));
    let cases = ProptestConfig::with_cases(48);
    proptest!(cases, |(seed in any::<u64>())| {
        for version in O::VERSIONS {
            agrees_in::<O, T>(seed, version);
        }
    });
}

fn agrees_in<O: Subject, T: Encodable + Decodable + Debug>(seed: u64, version: i16) {
    let ours = O::sample(&mut Dice::new(seed, version));
    let written = body(&ours, version);

    let mut reader = Reader::new(&written, 0, version, version >= O::FLEXIBLE_FROM);
    let read = O::read(&mut reader).unwrap_or_else(|e| panic!("version {version}: {e}: {ours:?}"));
    assert_eq!(read, ours, "version {version}");
    assert_eq!(reader.remaining(), 0, "version {version}: {ours:?}");

    let mut unread = written.clone();
    let theirs = T::decode(&mut unread, version)
        .unwrap_or_else(|e| panic!("version {version}: the oracle refuses {ours:?}: {e}"));
    assert!(unread.is_empty(), "version {version}: the oracle leaves {unread:?} of {ours:?}");
    assert_eq!(plain(&ours), plain(&theirs), "version {version}");

    let mut again = BytesMut::new();
    theirs.encode(&mut again, version).unwrap();
    assert_eq!(again, written, "version {version}: {ours:?}");
}

/// Field names and values of a debug form without the names of types, and with empty for null:
/// the bytes tell these apart, and the defaults of absent fields differ in it.
fn plain(message: &impl Debug) -> String {
    let mut text = format!("{message:?}").replace(", unknown_tagged_fields: {}", "");
    for field in NEWER {
        text = text.replace(field, "");
    }
    let text = text
        .replace("Some(\"\")", "None")
        .replace("Some(b\"\")", "None")
        .replace("Some([])", "None");
    let mut out = String::new();
    for piece in text.split_inclusive(" {") {
        let Some(before) = piece.strip_suffix(" {") else {
            out.push_str(piece);
            break;
        };
        out.push_str(before.trim_end_matches(|c: char| c.is_ascii_alphanumeric()));
        out.push('{');
    }
    let mut codes = out.split("ErrorCode(");
    let mut numbers = codes.next().unwrap_or_default().to_owned();
    for code in codes {
        numbers.push_str(&code.replacen(')', "", 1));
    }
    numbers
}

for_every_api!(agrees);
