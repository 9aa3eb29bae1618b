//! The least Kafka client that checks need: one record a request, versions without tagged fields.

use anyhow::{Context as _, Result, ensure};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(30);
const PRODUCE: (i16, i16) = (0, 3);
const FETCH: (i16, i16) = (1, 4);
const METADATA: (i16, i16) = (3, 4);

/// A connection.
pub(super) struct Kafka {
    stream: TcpStream,
    correlation: i32,
    /// The last answer: memory that the next one uses again, as a client does that is to be fast.
    answer: Vec<u8>,
}

impl Kafka {
    pub(super) fn connect(port: u16) -> Result<Kafka> {
        let stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("no Kafka listener")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Kafka { stream, correlation: 0, answer: Vec::new() })
    }

    /// The same stream, to be shut down by somebody else.
    pub(super) fn another(&self) -> Result<TcpStream> {
        self.stream.try_clone().context("no second handle")
    }

    /// Creates a topic by asking for it with auto-creation, until it has a leader.
    pub(super) fn create_by_asking(&mut self, topic: &str) -> Result<()> {
        let mut body = Vec::new();
        body.extend(1i32.to_be_bytes());
        string(&mut body, topic);
        body.push(1);
        for _ in 0..200 {
            let answer = self.call(METADATA, &body)?;
            // The topic's error code stands before its name, and its partitions after it.
            let at = find(answer, topic.as_bytes()).context("no such topic in the answer")?;
            if answer[at - 4..at - 2] == [0, 0] {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("the topic {topic} is not created")
    }

    /// Produces one record with acks=all; gives its offset.
    pub(super) fn produce(&mut self, topic: &str, value: &[u8]) -> Result<i64> {
        let batch = batch(value)?;
        let mut body = Vec::with_capacity(batch.len() + 64);
        body.extend((-1i16).to_be_bytes());
        body.extend((-1i16).to_be_bytes());
        body.extend(10_000i32.to_be_bytes());
        body.extend(1i32.to_be_bytes());
        string(&mut body, topic);
        body.extend(1i32.to_be_bytes());
        body.extend(0i32.to_be_bytes());
        body.extend(i32::try_from(batch.len())?.to_be_bytes());
        body.extend(batch);
        let answer = self.call(PRODUCE, &body)?;
        let at = 4 + 2 + topic.len() + 4 + 4;
        ensure!(answer.len() >= at + 10, "a short answer to a produce");
        let error = i16::from_be_bytes([answer[at], answer[at + 1]]);
        ensure!(error == 0, "error {error} to a produce");
        Ok(i64::from_be_bytes(answer[at + 2..at + 10].try_into()?))
    }

    /// Produces a batch to each of some topics in one request.
    pub(super) fn produce_to(&mut self, topics: &[String], batch: &[u8]) -> Result<()> {
        let mut body = Vec::with_capacity(topics.len() * (batch.len() + 32));
        body.extend((-1i16).to_be_bytes());
        body.extend((-1i16).to_be_bytes());
        body.extend(30_000i32.to_be_bytes());
        body.extend(i32::try_from(topics.len())?.to_be_bytes());
        for topic in topics {
            string(&mut body, topic);
            body.extend(1i32.to_be_bytes());
            body.extend(0i32.to_be_bytes());
            body.extend(i32::try_from(batch.len())?.to_be_bytes());
            body.extend(batch);
        }
        let answer = self.call(PRODUCE, &body)?;
        let mut at = 4;
        for topic in topics {
            at += 2 + topic.len() + 4 + 4;
            ensure!(answer.len() >= at + 18, "a short answer to a produce");
            let error = i16::from_be_bytes([answer[at], answer[at + 1]]);
            ensure!(error == 0, "error {error} to a produce");
            at += 18;
        }
        Ok(())
    }

    /// Reads from `offset` on, at most some MiB; gives the stored batches, each with its base offset
    /// in front, and the end of the log.
    pub(super) fn fetch(&mut self, topic: &str, offset: i64) -> Result<(&[u8], i64)> {
        let mut body = Vec::with_capacity(topic.len() + 64);
        for number in [-1i32, 100, 1, 8 << 20] {
            body.extend(number.to_be_bytes());
        }
        body.push(0);
        body.extend(1i32.to_be_bytes());
        string(&mut body, topic);
        body.extend(1i32.to_be_bytes());
        body.extend(0i32.to_be_bytes());
        body.extend(offset.to_be_bytes());
        body.extend((8i32 << 20).to_be_bytes());
        let answer = self.call(FETCH, &body)?;
        let at = 4 + 4 + 2 + topic.len() + 4 + 4;
        let (end_at, aborted_at) = (at + 2, at + 18);
        ensure!(answer.len() >= aborted_at + 8, "a short answer to a fetch");
        let error = i16::from_be_bytes([answer[at], answer[at + 1]]);
        ensure!(error == 0, "error {error} to a fetch at offset {offset}");
        let end = i64::from_be_bytes(answer[end_at..end_at + 8].try_into()?);
        Ok((&answer[aborted_at + 8..], end))
    }

    /// Sends a request; gives the answer after its header.
    fn call(&mut self, (key, version): (i16, i16), body: &[u8]) -> Result<&[u8]> {
        self.correlation += 1;
        let mut request = Vec::with_capacity(body.len() + 32);
        request.extend(key.to_be_bytes());
        request.extend(version.to_be_bytes());
        request.extend(self.correlation.to_be_bytes());
        string(&mut request, "accept");
        request.extend(body);
        let mut framed = i32::try_from(request.len())?.to_be_bytes().to_vec();
        framed.extend(request);
        self.stream.write_all(&framed).context("cannot send")?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).context("no answer")?;
        let length = usize::try_from(i32::from_be_bytes(length))?;
        if self.answer.len() < length {
            self.answer.resize(length, 0);
        }
        let answer = &mut self.answer[..length];
        self.stream.read_exact(answer).context("half an answer")?;
        ensure!(answer.len() >= 4 && answer[..4] == self.correlation.to_be_bytes(), "not ours");
        Ok(&answer[4..])
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend(i16::try_from(text.len()).expect("short names only").to_be_bytes());
    out.extend(text.as_bytes());
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// A RecordBatch of magic 2 with one record without a key.
fn batch(value: &[u8]) -> Result<Vec<u8>> {
    batch_of(&[value])
}

/// The offset after the last record of batches as they were fetched; the last one may be cut off.
pub(super) fn end_of(batches: &[u8]) -> Option<i64> {
    let (mut rest, mut end) = (batches, None);
    while let Some(length) = rest.get(8..12).and_then(|bytes| bytes.try_into().ok()) {
        let length = usize::try_from(i32::from_be_bytes(length)).ok()? + 12;
        let Some(batch) = rest.get(..length) else { break };
        let base = i64::from_be_bytes(batch[..8].try_into().ok()?);
        end = Some(base + i64::from(i32::from_be_bytes(batch[23..27].try_into().ok()?)) + 1);
        rest = &rest[length..];
    }
    end
}

/// A RecordBatch of magic 2 with a record without a key for each value.
pub(super) fn batch_of(values: &[impl AsRef<[u8]>]) -> Result<Vec<u8>> {
    let count = i32::try_from(values.len())?;
    let mut records = Vec::new();
    for (delta, value) in (0..count).zip(values) {
        let value = value.as_ref();
        let mut record = vec![0, 0];
        varint(&mut record, i64::from(delta));
        record.push(1);
        varint(&mut record, i64::try_from(value.len())?);
        record.extend(value);
        record.push(0);
        varint(&mut records, i64::try_from(record.len())?);
        records.extend(record);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let time = i64::try_from(now)?.to_be_bytes();
    let mut checked = vec![0, 0];
    checked.extend((count - 1).to_be_bytes());
    checked.extend(time);
    checked.extend(time);
    checked.extend((-1i64).to_be_bytes());
    checked.extend((-1i16).to_be_bytes());
    checked.extend((-1i32).to_be_bytes());
    checked.extend(count.to_be_bytes());
    checked.extend(records);
    let mut batch = 0i64.to_be_bytes().to_vec();
    batch.extend(i32::try_from(checked.len() + 9)?.to_be_bytes());
    batch.extend((-1i32).to_be_bytes());
    batch.push(2);
    batch.extend(crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    Ok(batch)
}

/// A zigzag varint.
fn varint(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        out.push((left & 0x7F) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 }
        })
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::{crc32c, varint};

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn varints_are_zigzag() {
        let mut out = Vec::new();
        for value in [0, -1, 1, 150, -151] {
            varint(&mut out, value);
        }
        assert_eq!(out, [0, 1, 2, 0xAC, 2, 0xAD, 2]);
    }
}
