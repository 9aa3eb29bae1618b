//! Every option of the broker, once.

pub(crate) mod file;

use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// What the scrubber reads in a second unless told otherwise.
const SCRUB_BYTES: u64 = 1 << 20;
/// What unzipping writes in a second unless told otherwise.
const UNZIP_BYTES: u64 = 64 << 20;

/// How the broker runs. Precedence: flag, variable, file, default.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Directory of the store; created if it is not there
    #[arg(long, env = "CROSSDOCK_DATA", value_name = "DIR", default_value = "crossdock-data")]
    pub data: PathBuf,

    /// Where a wire listens: WIRE=ADDR:PORT, or WIRE=off; repeatable. Unless told otherwise, on its
    /// usual port of both loopback addresses
    #[arg(long, env = "CROSSDOCK_LISTEN", value_name = "WIRE=ADDR:PORT", value_delimiter = ',')]
    pub listen: Vec<Listen>,

    /// Address that clients of a wire are told to come back by: WIRE=HOST:PORT; repeatable. Unless
    /// told otherwise, the one they came by
    #[arg(long, env = "CROSSDOCK_ADVERTISE", value_name = "WIRE=HOST:PORT", value_delimiter = ',')]
    pub advertise: Vec<Advertise>,

    /// Listen also on addresses that other machines can reach: nothing is encrypted yet, and Kafka and
    /// the admin side's /v1 ask for no login
    #[arg(long, env = "CROSSDOCK_INSECURE_LISTEN", num_args = 0..=1, require_equals = true)]
    #[arg(default_value_t = false, default_missing_value = "true", value_name = "BOOL")]
    #[arg(action = clap::ArgAction::Set)]
    pub insecure_listen: bool,

    /// What is held in memory
    #[command(flatten)]
    pub memory: InMemory,

    /// Threads that order writes; a new store gets as many shards. 0: half of the cores
    #[arg(long, env = "CROSSDOCK_WORKERS", value_name = "COUNT", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=256))]
    pub workers: u16,

    /// Create topics that Kafka clients ask for and that do not exist
    #[arg(long, env = "CROSSDOCK_AUTO_CREATE_TOPICS", num_args = 0..=1, require_equals = true)]
    #[arg(default_value_t = true, default_missing_value = "true", value_name = "BOOL")]
    #[arg(action = clap::ArgAction::Set)]
    pub auto_create_topics: bool,

    /// Partitions of a topic that is created without a number
    #[arg(long, env = "CROSSDOCK_DEFAULT_PARTITIONS", value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub default_partitions: u32,

    /// Largest message, and largest batch of a topic that does not say itself; at most an eighth of
    /// the memory limit. Unless told otherwise, 64 MiB in a queue and 1 MiB in a topic
    #[arg(long, env = "CROSSDOCK_MAX_MESSAGE_BYTES", value_name = "BYTES")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=(64 << 20)))]
    pub max_message_bytes: Option<u32>,

    /// What is logged to standard error: off, error, warn, info, debug, trace
    #[arg(long, env = "CROSSDOCK_LOG", value_name = "LEVEL", default_value = "warn")]
    pub log: tracing_subscriber::filter::LevelFilter,

    /// How the store is opened
    #[command(flatten)]
    pub opening: Opening,

    /// File with the same options: `data = "DIR"`, `listen = ["kafka=127.0.0.1:9092"]` …
    #[arg(long, env = "CROSSDOCK_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What is held in memory.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct InMemory {
    /// What the broker may hold in memory: every buffer and cache has its part of it. Unless told
    /// otherwise, 60 % of the machine's memory, or of what the control group may use
    #[arg(long, env = "CROSSDOCK_MEMORY_LIMIT", value_name = "BYTES")]
    pub memory_limit: Option<usize>,

    /// Bytes of messages kept in memory for readers. Unless told otherwise, a quarter of the memory
    /// limit, at most 64 MiB
    #[arg(long, env = "CROSSDOCK_CACHE_BYTES", value_name = "BYTES")]
    pub cache_bytes: Option<usize>,
}

/// How the store is opened.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Open a store that is damaged, without what is lost
    #[arg(long, env = "CROSSDOCK_SALVAGE", num_args = 0..=1, require_equals = true)]
    #[arg(default_value_t = false, default_missing_value = "true", value_name = "BOOL")]
    #[arg(action = clap::ArgAction::Set)]
    pub salvage: bool,

    /// Publishing is blocked while the disk has less left, so that acknowledgements, deletes and
    /// retention can go on. Unless told otherwise, a twentieth of the disk, at least 64 MiB and at most 1 GiB
    #[arg(long, env = "CROSSDOCK_DISK_FREE_MIN", value_name = "BYTES")]
    pub disk_free_min: Option<u64>,
    /// Bytes of the store that are read in a second to verify them while the broker runs. 0: none
    #[arg(long, env = "CROSSDOCK_SCRUB_BYTES", value_name = "BYTES", default_value_t = SCRUB_BYTES)]
    pub scrub_bytes: u64,

    /// Bytes written in a second at most to put what lies in the store in the order of its queues and
    /// topics, while nobody publishes. 0: none
    #[arg(long, env = "CROSSDOCK_UNZIP_BYTES", value_name = "BYTES", default_value_t = UNZIP_BYTES)]
    pub unzip_bytes: u64,

    /// What is in the store is put in order when hardly anything of it went for so long: short, much
    /// housekeeping in a short test
    #[arg(long, hide = true, value_name = "MILLISECONDS")]
    pub unzip_after_ms: Option<u64>,

    /// Directory that remembers what is not synced, for `crossdock power-cut`; on the file system
    /// of the store
    #[arg(long, hide = true, value_name = "DIR")]
    pub record_writes: Option<PathBuf>,

    /// What goes wrong with the disk: KIND@N or KIND@N+COUNT, counted in calls; slow@BYTES a second
    #[arg(long, hide = true, value_name = "KIND@N", conflicts_with = "record_writes")]
    pub fault: Option<io::FaultPlan>,

    /// Size of new segments, half of what a checkpoint follows: small, much housekeeping in a short
    /// test
    #[arg(long, hide = true, value_name = "BYTES")]
    #[arg(value_parser = clap::value_parser!(u32).range(4 << 20..=256 << 20))]
    pub segment_bytes: Option<u32>,
    /// A checkpoint after so many bytes of journal; the largest number: none but at a stop. For a test
    #[arg(long, hide = true, value_name = "BYTES")]
    pub checkpoint_bytes: Option<u64>,
    /// A checkpoint of no more bytes is one file; of a larger one the state is in files of chunks. For a
    /// test
    #[arg(long, hide = true, value_name = "BYTES")]
    pub checkpoint_inline_bytes: Option<u64>,
}

impl Default for Opening {
    fn default() -> Opening {
        Opening {
            disk_free_min: None,
            salvage: false,
            scrub_bytes: SCRUB_BYTES,
            unzip_bytes: UNZIP_BYTES,
            unzip_after_ms: None,
            record_writes: None,
            fault: None,
            segment_bytes: None,
            checkpoint_bytes: None,
            checkpoint_inline_bytes: None,
        }
    }
}

/// Where a wire listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The wire's name.
    pub wire: String,
    /// Where; none: it does not listen.
    pub address: Option<SocketAddr>,
}

/// What clients of a wire are told to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// The wire's name.
    pub wire: String,
    /// Where.
    pub address: Address,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Options {
    /// A broker with its store in `data` and every other option at its default, listening nowhere.
    ///
    /// `CROSSDOCK_*` variables are not looked at.
    #[must_use]
    pub fn embedded(data: impl Into<PathBuf>) -> Options {
        let off = |wire: &str| Listen { wire: wire.to_owned(), address: None };
        Options {
            data: data.into(),
            listen: crate::wires::names().map(off).collect(),
            advertise: Vec::new(),
            insecure_listen: false,
            memory: InMemory::default(),
            workers: 0,
            auto_create_topics: true,
            default_partitions: 1,
            max_message_bytes: None,
            log: tracing_subscriber::filter::LevelFilter::OFF,
            opening: Opening::default(),
            config: None,
        }
    }

    /// The same, with `wire` listening at `address`.
    #[must_use]
    pub fn with_listener(mut self, wire: &str, address: SocketAddr) -> Options {
        self.listen.push(Listen { wire: wire.to_owned(), address: Some(address) });
        self
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let (wire, place) = of_wire(text, "WIRE=ADDR:PORT or WIRE=off")?;
        let address = match place {
            "off" => None,
            place => Some(place.parse().map_err(|_| {
                format!("'{place}' is no address and port such as 127.0.0.1:9092 or [::1]:9092")
            })?),
        };
        Ok(Listen { wire: wire.to_owned(), address })
    }
}

impl FromStr for Advertise {
    type Err = String;

    fn from_str(text: &str) -> Result<Advertise, String> {
        let (wire, place) = of_wire(text, "WIRE=HOST:PORT")?;
        if !crate::wires::WIRES.iter().any(|row| row.name == wire && row.advertises) {
            return Err(format!("clients of {wire} are never told an address"));
        }
        let split = place.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let port = split.and_then(|(_, port)| port.parse().ok());
        let (Some((host, _)), Some(port)) = (split, port) else {
            return Err(format!("'{place}' is no host and port such as broker.example:9092"));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Advertise { wire: wire.to_owned(), address: Address { host, port } })
    }
}

fn of_wire<'a>(text: &'a str, form: &str) -> Result<(&'a str, &'a str), String> {
    let (wire, place) = text.split_once('=').ok_or_else(|| format!("it has the form {form}"))?;
    if crate::wires::names().any(|known| known == wire) {
        return Ok((wire, place));
    }
    let known: Vec<&str> = crate::wires::names().collect();
    Err(format!("there is no wire '{wire}'; there are {}", known.join(", ")))
}

#[cfg(test)]
mod tests;
