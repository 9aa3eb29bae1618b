//! Passwords as RabbitMQ stores them: a salt of four bytes, and the hash of salt and password.
//!
//! Source: rabbitmq-server 3.10, `rabbit_password.erl`. One round of a fast hash is not what would be
//! chosen today; it is kept so that users move between the two brokers with their passwords.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512};
use std::fmt;

/// How long a salt is, in bytes.
const SALT_BYTES: usize = 4;

/// What passwords are hashed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HashAlgorithm {
    /// SHA-256, that of new passwords.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash {
    algorithm: HashAlgorithm,
    /// Salt and hash; empty for one that no password has.
    salted: Box<[u8]>,
}

impl HashAlgorithm {
    fn hash(self, salt: &[u8], password: &[u8]) -> Vec<u8> {
        match self {
            HashAlgorithm::Sha256 => {
                Sha256::new().chain_update(salt).chain_update(password).finalize().to_vec()
            }
            HashAlgorithm::Sha512 => {
                Sha512::new().chain_update(salt).chain_update(password).finalize().to_vec()
            }
        }
    }
}

impl PasswordHash {
    /// What is kept of `password`; `salt` is random. Of an empty password, nothing.
    #[must_use]
    pub fn new(algorithm: HashAlgorithm, password: &str, salt: [u8; SALT_BYTES]) -> PasswordHash {
        if password.is_empty() {
            return PasswordHash::none();
        }
        let mut salted = salt.to_vec();
        salted.extend(algorithm.hash(&salt, password.as_bytes()));
        PasswordHash { algorithm, salted: salted.into() }
    }

    /// What is kept of a user who cannot log in with a password.
    #[must_use]
    pub fn none() -> PasswordHash {
        PasswordHash { algorithm: HashAlgorithm::default(), salted: Box::default() }
    }

    /// What was stored elsewhere: salt and hash in a row.
    #[must_use]
    pub fn stored(algorithm: HashAlgorithm, salted: &[u8]) -> PasswordHash {
        PasswordHash { algorithm, salted: salted.into() }
    }

    /// What it was hashed with.
    #[must_use]
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// Salt and hash in a row; empty for one that no password has.
    #[must_use]
    pub fn salted(&self) -> &[u8] {
        &self.salted
    }

    /// Whether it is that of `password`; an empty password is nobody's.
    #[must_use]
    pub fn is_of(&self, password: &[u8]) -> bool {
        let Some((salt, stored)) = self.salted.split_at_checked(SALT_BYTES) else { return false };
        let hash = self.algorithm.hash(salt, password);
        // All of it is looked at: how long it takes tells nothing.
        let differs = hash.iter().zip(stored).fold(0, |differs, (a, b)| differs | (a ^ b));
        !password.is_empty() && hash.len() == stored.len() && differs == 0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
