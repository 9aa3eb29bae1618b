//! The topics in a consumer's metadata.
//!
//! Source: Kafka, `ConsumerProtocolSubscription.json`: version INT16, topics ARRAY of STRING, then
//! what does not matter here. All versions begin alike.

/// The topics of one member; `None` when the bytes are not of that form.
pub(super) fn topics(metadata: &[u8]) -> Option<Vec<String>> {
    let (version, rest) = metadata.split_first_chunk()?;
    let (count, mut rest) = rest.split_first_chunk()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    // A string is two bytes at least.
    if rest.len() / 2 < count {
        return None;
    }
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let (len, text) = rest.split_first_chunk()?;
        let len = usize::try_from(i16::from_be_bytes(*len)).ok()?;
        let (text, behind) = text.split_at_checked(len)?;
        topics.push(std::str::from_utf8(text).ok()?.to_owned());
        rest = behind;
    }
    Some(topics)
}
