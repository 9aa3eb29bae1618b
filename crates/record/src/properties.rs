//! Typed properties and headers (being written).
