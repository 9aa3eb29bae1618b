//! Delivery by script, and by random operations against a plain model.

mod model;
mod script;
