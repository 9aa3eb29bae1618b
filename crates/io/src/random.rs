//! Random numbers.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

const POOL_WORDS: usize = 32;

/// Where random numbers come from.
pub trait Random: Send + Sync + fmt::Debug {
    /// 64 random bits.
    fn next(&self) -> u64;
}

/// The machine's generator, fit for secrets.
pub struct SystemRandom {
    pool: Mutex<Pool>,
}

struct Pool {
    source: File,
    words: [u64; POOL_WORDS],
    left: usize,
}

impl SystemRandom {
    /// Opens the machine's generator; fails where there is none.
    pub fn open() -> io::Result<SystemRandom> {
        let mut pool =
            Pool { source: File::open("/dev/urandom")?, words: [0; POOL_WORDS], left: 0 };
        pool.fill()?;
        Ok(SystemRandom { pool: Mutex::new(pool) })
    }
}

impl fmt::Debug for SystemRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemRandom").finish_non_exhaustive()
    }
}

impl Random for SystemRandom {
    fn next(&self) -> u64 {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.left == 0 {
            pool.fill().expect("the generator answered when it was opened, and does not run dry");
        }
        pool.left -= 1;
        pool.words[pool.left]
    }
}

impl Pool {
    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; POOL_WORDS * 8];
        self.source.read_exact(&mut bytes)?;
        for (word, chunk) in self.words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        self.left = POOL_WORDS;
        Ok(())
    }
}
