//! Delivery by script, and by random operations against a plain model.

mod keys;
mod model;
mod script;
mod sessions;
