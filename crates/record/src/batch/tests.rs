use super::*;
use crate::tail;
use crate::varint;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const LIMITS: Limits = Limits { batch_bytes_max: 1 << 20, record_count_max: 100_000 };
const BODY_BYTES_MAX: usize = 4 << 20;
const PACKED: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

type Record = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn record() -> impl Strategy<Value = Record> {
    let text = |max| vec(b'a'..=b'z', 0..max);
    let bytes = |max| vec(any::<u8>(), 0..max);
    let headers = vec((text(8), option::of(bytes(8))), 0..4);
    (0..2_000_000i64, option::of(bytes(10)), option::of(bytes(200)), headers)
}

fn tail_of((_, key, value, headers): &Record) -> Vec<u8> {
    let mut out = Vec::new();
    let headers = headers.iter().map(|(name, value)| (&name[..], value.as_deref()));
    tail::encode(&mut out, key.as_deref(), value.as_deref(), headers);
    out
}

fn builder(records: &[Record]) -> Builder {
    let mut builder = Builder::new(Millis(1_000_000));
    for record in records {
        builder.push(Millis(record.0), &tail_of(record));
    }
    builder
}

fn small() -> Bytes {
    let record = |value: &[u8]| (1_000_005, None, Some(value.to_vec()), vec![]);
    builder(&[record(b"one"), record(b"two")]).finish()
}

/// A batch around any body, with a checksum that holds.
fn around(body: &[u8], compression: Compression, count: u32) -> Bytes {
    let header = Header {
        base_offset: Offset(0),
        batch_bytes: (HEADER_BYTES + body.len()) as u32,
        leader_epoch: 0,
        crc: 0,
        attributes: compression.code(),
        last_offset_delta: count.wrapping_sub(1),
        base_timestamp: Millis(0),
        max_timestamp: Millis(0),
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        count,
    };
    resealed([&header.encode()[..], body].concat())
}

fn resealed(mut batch: Vec<u8>) -> Bytes {
    let crc = crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(batch)
}

fn fault<T: std::fmt::Debug>(result: Result<T, Malformed>) -> Fault {
    result.unwrap_err().fault
}

proptest! {
    #[test]
    fn a_batch_gives_back_what_was_pushed(records in vec(record(), 1..20)) {
        let batch = builder(&records).finish();
        let header = validate(&batch, &LIMITS).unwrap();
        prop_assert_eq!(header.batch_bytes as usize, batch.len());
        prop_assert_eq!(header.count as usize, records.len());
        prop_assert_eq!(Some(header.max_timestamp.0), records.iter().map(|r| r.0).max());
        prop_assert_eq!(check_records(&header, &batch, BODY_BYTES_MAX), Ok(()));
        let mut count = 0;
        let mut heads = Records::new(&header, &batch[HEADER_BYTES..]);
        for (view, record) in Records::new(&header, &batch[HEADER_BYTES..]).zip(&records) {
            let view = view.unwrap();
            let head = heads.next_head().unwrap().unwrap();
            prop_assert_eq!(head.offset_delta, view.offset_delta);
            prop_assert_eq!(head.timestamp_delta, view.timestamp_delta);
            prop_assert_eq!(head.tail, view.tail);
            prop_assert_eq!(view.offset_delta, count);
            prop_assert_eq!(header.timestamp_of(view.timestamp_delta), Millis(record.0));
            prop_assert_eq!(view.key, record.1.as_deref());
            prop_assert_eq!(view.value, record.2.as_deref());
            let encoded = tail_of(record);
            prop_assert_eq!(view.tail, &encoded[..]);
            count += 1;
        }
        prop_assert_eq!(count, header.count);
        prop_assert!(heads.next_head().is_none());
    }

    #[test]
    fn a_recompressed_batch_differs_in_its_compression_alone(
        records in vec(record(), 1..20),
        from in 0u16..5,
        to in 0u16..5,
    ) {
        let [from, to] = [from, to].map(|code| Compression::from_code(code).unwrap());
        let mut builder = builder(&records);
        builder.set_producer(7, 3, 11);
        let batch = builder.clone().finish_compressed(from);
        let header = validate(&batch, &LIMITS).unwrap();
        let got = recompress(&header, &batch, to, BODY_BYTES_MAX).unwrap();
        prop_assert_eq!(got, builder.finish_compressed(to));
    }

    #[test]
    fn every_compression_unpacks_to_the_same_body(records in vec(record(), 1..20)) {
        let plain = builder(&records).finish();
        for compression in PACKED {
            let batch = builder(&records).finish_compressed(compression);
            let header = validate(&batch, &LIMITS).unwrap();
            prop_assert_eq!(header.compression(), Ok(compression));
            let body = decompress(&header, &batch, BODY_BYTES_MAX).unwrap();
            prop_assert_eq!(&body[..], &plain[HEADER_BYTES..]);
            prop_assert_eq!(check_records(&header, &batch, BODY_BYTES_MAX), Ok(()));
        }
    }

    #[test]
    fn another_codec_reads_our_batches_and_we_read_its(records in vec(record(), 1..10)) {
        oracle::check(&records);
    }

    #[test]
    fn any_bytes_are_refused_or_walked(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(validate(&bytes, &LIMITS).is_err());
        let bytes = Bytes::from(bytes);
        prop_assert!(Batches::new(bytes.clone(), LIMITS).count() <= 1);
        let header = Header { count: 1000, ..Header::decode(&small()).unwrap() };
        let walked = Records::new(&header, &bytes).count();
        prop_assert!(walked <= bytes.len() / RECORD_BYTES_MIN + 1);
    }

    #[test]
    fn a_flipped_byte_never_passes_the_checks(at in 0usize..200, bits in 1u8..) {
        let mut batch = small().to_vec();
        let at = at % batch.len();
        batch[at] ^= bits;
        let outside_the_checksum = at < 8 || (EPOCH_AT..MAGIC_AT).contains(&at);
        prop_assert_eq!(validate(&batch, &LIMITS).is_ok(), outside_the_checksum);
    }

    #[test]
    fn a_mutated_body_with_a_good_checksum_is_walked_safely(
        packed in 0usize..5, at in any::<usize>(), bits in 1u8.., count in 0u32..3_000,
    ) {
        let compression = Compression::from_code(packed as u16).unwrap();
        let records: Vec<Record> = (0..20).map(|n| (n, None, Some(vec![7; 50]), vec![])).collect();
        let mut body = builder(&records).finish_compressed(compression)[HEADER_BYTES..].to_vec();
        let at = at % body.len();
        body[at] ^= bits;
        let batch = around(&body, compression, count);
        if let Ok(header) = validate(&batch, &LIMITS) {
            // Either verdict may be right; what is proven is that there is one.
            let checked = check_records(&header, &batch, BODY_BYTES_MAX);
            prop_assert!(checked.is_err() || header.count == 20);
        }
    }

    #[test]
    fn any_body_unpacks_within_the_cap_or_fails(
        packed in 1u16..5, body in vec(any::<u8>(), 1..300), framed: bool,
    ) {
        let compression = Compression::from_code(packed).unwrap();
        let xerial = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
        let body = if framed { [&xerial[..], &body].concat() } else { body };
        let batch = around(&body, compression, 1);
        let header = validate(&batch, &LIMITS).unwrap();
        if let Ok(unpacked) = decompress(&header, &batch, 1000) {
            prop_assert!(unpacked.len() <= 1000);
        }
    }
}

#[test]
fn the_header_encodes_to_the_bytes_it_came_from() {
    let batch = small();
    let header = Header::decode(&batch).unwrap();
    assert_eq!(header.encode(), batch[..HEADER_BYTES]);
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn the_prefix_is_patched_and_the_checksum_still_holds() {
    let stored = small();
    let mut read = stored.to_vec();
    read[..PREFIX_BYTES].copy_from_slice(&prefix_with(&stored, Offset(77), 5));
    let header = validate(&read, &LIMITS).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (Offset(77), 5));
    assert_eq!(read[PREFIX_BYTES..], stored[PREFIX_BYTES..]);
}

#[test]
fn the_append_time_stands_for_every_record() {
    let mut batch = small().to_vec();
    set_append_time(&mut batch, Millis(42));
    let header = validate(&batch, &LIMITS).unwrap();
    assert!(header.append_time());
    assert_eq!(header.timestamp_of(5), Millis(42));
    assert_eq!(header.base_timestamp, Millis(1_000_000));
}

#[test]
fn survivors_keep_their_offsets() {
    let mut survivors = Builder::new(Millis(0));
    let tail = tail_of(&(0, None, None, vec![]));
    survivors.push_at(3, Millis(0), &tail);
    survivors.push(Millis(0), &tail);
    survivors.push_at(9, Millis(0), &tail);
    let batch = survivors.finish();
    let header = Header::decode(&batch).unwrap();
    let offsets: Vec<u32> = Records::new(&header, &batch[HEADER_BYTES..])
        .map(|record| record.unwrap().offset_delta)
        .collect();
    assert_eq!(offsets, [3, 4, 9]);
    assert_eq!((header.count, header.last_offset_delta), (3, 9));
    assert_eq!(fault(check_records(&header, &batch, BODY_BYTES_MAX)), Fault::Count);
}

#[test]
fn several_batches_in_a_row_are_split() {
    let two = Bytes::from([&small()[..], &small()].concat());
    let split: Result<Vec<_>, _> = Batches::new(two.clone(), LIMITS).collect();
    assert!(split.unwrap().iter().all(|(_, batch)| *batch == small()));
    let cut: Vec<_> = Batches::new(two.slice(..two.len() - 1), LIMITS).collect();
    assert_eq!(cut.len(), 2);
    assert_eq!(fault(cut[1].clone()), Fault::Truncated);
}

#[test]
fn limits_and_contradictions_are_refused_by_their_own_fault() {
    let body = &small()[HEADER_BYTES..];
    let check = |batch: &[u8], expected| assert_eq!(fault(validate(batch, &LIMITS)), expected);
    assert!(validate(&around(body, Compression::None, 2), &LIMITS).is_ok());
    check(&around(body, Compression::None, 0), Fault::Count);
    check(&around(body, Compression::None, 1_000), Fault::Count);
    check(&around(body, Compression::Gzip, 100_001), Fault::Count);
    check(&around(&[], Compression::Zstd, 1), Fault::Count);
    let mut sparse = small().to_vec();
    sparse[26] = 9; // last offset delta
    check(&resealed(sparse), Fault::Count);
    let mut unknown = small().to_vec();
    unknown[22] = 5; // compression code
    check(&resealed(unknown), Fault::Compression);
    let mut old = small().to_vec();
    old[MAGIC_AT] = 1;
    check(&old, Fault::Magic);
    check(&old[..40], Fault::Magic);
    let mut short = small().to_vec();
    short[8..12].copy_from_slice(&48i32.to_be_bytes());
    check(&short, Fault::Count);
    let tight = Limits { batch_bytes_max: small().len() - 1, ..LIMITS };
    assert_eq!(fault(validate(&small(), &tight)), Fault::TooLarge);
}

#[test]
fn false_counts_and_leftovers_are_found_in_the_records() {
    let body = small().slice(HEADER_BYTES..);
    let verdicts = [(1, Some(Fault::Count)), (2, None), (3, Some(Fault::Truncated))];
    for (count, expected) in verdicts {
        for compression in [Compression::None, Compression::Gzip] {
            let batch = around(&compress(compression, &body), compression, count);
            let header = Header::decode(&batch).unwrap();
            let checked = check_records(&header, &batch, BODY_BYTES_MAX);
            assert_eq!(checked.err().map(|malformed| malformed.fault), expected);
        }
    }
}

#[test]
fn a_bomb_stops_at_the_cap() {
    let zeros = vec![0; 50 << 20];
    for compression in PACKED {
        let batch = around(&compress(compression, &zeros), compression, 1);
        let header = Header::decode(&batch).unwrap();
        assert_eq!(fault(decompress(&header, &batch, 1 << 20)), Fault::TooLarge);
        assert_eq!(decompress(&header, &batch, 50 << 20).unwrap().len(), 50 << 20);
    }
}

#[test]
fn reading_ends_at_the_cap_even_without_an_end() {
    let endless = std::io::repeat(0);
    assert_eq!(compression::read_capped(endless, 1000), Err(Fault::TooLarge));
    assert_eq!(compression::read_capped(&[7; 1000][..], 1000), Ok(vec![7; 1000]));
}

#[test]
fn a_snappy_block_that_lies_about_its_length_allocates_nothing() {
    let mut lie = Vec::new();
    varint::push_unsigned(&mut lie, 1 << 30);
    lie.extend_from_slice(b"\0a");
    let batch = around(&lie, Compression::Snappy, 1);
    let header = Header::decode(&batch).unwrap();
    assert_eq!(fault(decompress(&header, &batch, usize::MAX)), Fault::Compression);
}

#[test]
fn raw_snappy_is_read_too() {
    let raw = snap::raw::Encoder::new().compress_vec(b"without framing").unwrap();
    let batch = around(&raw, Compression::Snappy, 1);
    let header = Header::decode(&batch).unwrap();
    assert_eq!(decompress(&header, &batch, 100).unwrap(), "without framing");
}

/// kafka-protocol, written independently, as the judge of our bytes.
mod oracle {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::indexmap::IndexMap;
    use kafka_protocol::protocol::StrBytes;
    use kafka_protocol::records as theirs;

    pub(super) fn check(records: &[Record]) {
        let read = theirs::RecordBatchDecoder::decode(&mut builder(records).finish()).unwrap();
        assert_eq!(read.records.len(), records.len());
        for (at, (record, (time, key, value, headers))) in
            read.records.iter().zip(records).enumerate()
        {
            assert_eq!(record.offset, at as i64);
            assert_eq!(record.timestamp, *time);
            assert_eq!(record.key.as_deref(), key.as_deref());
            assert_eq!(record.value.as_deref(), value.as_deref());
            assert_eq!(record.headers, map(headers));
        }
        let mut written = BytesMut::new();
        let compression = theirs::Compression::None;
        let options = theirs::RecordEncodeOptions { version: 2, compression };
        theirs::RecordBatchEncoder::encode(&mut written, &read.records, &options).unwrap();
        let mut seen = 0;
        for batch in Batches::new(written.freeze(), LIMITS) {
            let (header, batch) = batch.unwrap();
            let body = decompress(&header, &batch, BODY_BYTES_MAX).unwrap();
            for view in Records::new(&header, &body) {
                let view = view.unwrap();
                let (time, key, value, headers) = &records[seen];
                assert_eq!(header.timestamp_of(view.timestamp_delta), Millis(*time));
                assert_eq!((view.key, view.value), (key.as_deref(), value.as_deref()));
                let found: Vec<_> =
                    view.headers.map(|(n, v)| (n.to_vec(), v.map(<[u8]>::to_vec))).collect();
                assert_eq!(map(&found), map(headers));
                seen += 1;
            }
        }
        assert_eq!(seen, records.len());
    }

    fn map(headers: &[(Vec<u8>, Option<Vec<u8>>)]) -> IndexMap<StrBytes, Option<Bytes>> {
        let name = |name: &[u8]| StrBytes::from_string(String::from_utf8(name.to_vec()).unwrap());
        headers.iter().map(|(n, v)| (name(n), v.clone().map(Bytes::from))).collect()
    }
}

proptest! {
    #[test]
    fn batches_back_to_back_are_told_apart_and_their_offsets_go_on(
        batches in vec(vec(record(), 1..4), 0..6),
        base in 0..1_000_000i64,
        cut in 0usize..60,
    ) {
        let batches: Vec<Bytes> = batches.iter().map(|some| builder(some).finish()).collect();
        let mut row = batches.concat();
        let mut next = Offset(base);
        for ((at, batch), stored) in in_row(Offset(base), &row.clone().into()).zip(&batches) {
            prop_assert_eq!((at, &batch), (next, stored));
            next = next.plus(Header::decode(stored).unwrap().count);
        }
        prop_assert_eq!(in_row(Offset(base), &row.clone().into()).count(), batches.len());
        // The last one is not whole any more.
        row.truncate(row.len() - cut.min(row.len()));
        let whole = if cut == 0 { batches.len() } else { batches.len().saturating_sub(1) };
        prop_assert_eq!(in_row(Offset(base), &row.into()).count(), whole);
    }

    #[test]
    fn whatever_lies_in_a_row_nothing_panics(bytes in vec(any::<u8>(), 0..300), base in 0..9i64) {
        let bytes = Bytes::from(bytes);
        let found: usize = in_row(Offset(base), &bytes).map(|(_, batch)| batch.len()).sum();
        prop_assert!(found <= bytes.len());
    }
}

#[test]
fn a_patched_copy_holds_still() {
    let stored = small();
    let mut copy = stored.to_vec();
    patch(&mut copy, Offset(77), 3);
    assert_eq!(copy[..PREFIX_BYTES], prefix_with(&stored, Offset(77), 3));
    let header = validate(&copy, &LIMITS).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (Offset(77), 3));
}
