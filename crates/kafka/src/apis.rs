//! The one table of the APIs this broker speaks: ApiVersions, dispatch and the documentation
//! read it, and a test holds it against the messages.

use std::ops::RangeInclusive;

/// One API: what is decoded, what is advertised, and how its headers are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    /// Which one.
    pub key: ApiKey,
    /// Its name in the protocol guide.
    pub name: &'static str,
    /// Oldest version that ApiVersions names; older than `min` where clients infer features from it.
    pub advertised_min: i16,
    /// Oldest version that is served.
    pub min: i16,
    /// Newest version that is served.
    pub max: i16,
    /// First version with compact lengths and tagged fields; `i16::MAX` where there is none.
    pub flexible_from: i16,
}

impl Api {
    /// The versions that are served.
    pub fn versions(&self) -> RangeInclusive<i16> {
        self.min..=self.max
    }

    /// Whether ApiVersions names it. Authentication is answered with the protocol's refusal, and not
    /// offered while there is none.
    pub fn advertised(&self) -> bool {
        !matches!(self.key, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate)
    }
}

macro_rules! apis {
    ($($key:literal $name:ident $min:literal ..= $max:literal flexible $flexible:expr;)*) => {
        /// The number of an API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)*
        }

        /// Every API that is served, by ascending key.
        pub const APIS: &[Api] = &[$(Api {
            key: ApiKey::$name,
            name: stringify!($name),
            advertised_min: advertised_min($key, $min),
            min: $min,
            max: $max,
            flexible_from: $flexible,
        },)*];
    };
}

const NEVER: i16 = i16::MAX;

apis! {
    0 Produce 3..=13 flexible 9;
    1 Fetch 4..=18 flexible 12;
    2 ListOffsets 1..=10 flexible 6;
    3 Metadata 0..=13 flexible 9;
    8 OffsetCommit 2..=9 flexible 8;
    9 OffsetFetch 1..=9 flexible 6;
    10 FindCoordinator 0..=6 flexible 3;
    11 JoinGroup 0..=9 flexible 6;
    12 Heartbeat 0..=4 flexible 4;
    13 LeaveGroup 0..=5 flexible 4;
    14 SyncGroup 0..=5 flexible 4;
    15 DescribeGroups 0..=6 flexible 5;
    16 ListGroups 0..=5 flexible 3;
    17 SaslHandshake 0..=1 flexible NEVER;
    18 ApiVersions 0..=4 flexible 3;
    19 CreateTopics 2..=7 flexible 5;
    20 DeleteTopics 1..=6 flexible 4;
    21 DeleteRecords 0..=2 flexible 2;
    22 InitProducerId 0..=5 flexible 2;
    23 OffsetForLeaderEpoch 2..=4 flexible 4;
    32 DescribeConfigs 1..=4 flexible 4;
    33 AlterConfigs 0..=2 flexible 2;
    35 DescribeLogDirs 1..=4 flexible 2;
    36 SaslAuthenticate 0..=2 flexible 2;
    37 CreatePartitions 0..=3 flexible 2;
    42 DeleteGroups 0..=2 flexible 2;
    44 IncrementalAlterConfigs 0..=1 flexible 1;
    47 OffsetDelete 0..=0 flexible NEVER;
    60 DescribeCluster 0..=2 flexible 0;
    75 DescribeTopicPartitions 0..=0 flexible 0;
}

/// The API of a number, if it is served.
pub fn find(key: i16) -> Option<&'static Api> {
    let at = APIS.binary_search_by_key(&key, |api| api.key as i16).ok()?;
    Some(&APIS[at])
}

/// librdkafka takes a broker that does not name Produce 0 for one that cannot take compressed
/// batches of the present format (KAFKA-18659), so 0 is named although 3 is the oldest served.
const fn advertised_min(key: i16, min: i16) -> i16 {
    if key == ApiKey::Produce as i16 { 0 } else { min }
}

#[cfg(test)]
mod tests;
