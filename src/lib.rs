//! Numbered checkpoints for Llama ports on Candle.

pub mod compare;
pub mod error;
pub mod model;
pub mod probe;
pub mod reference;
pub mod weights;

pub use error::{Error, Result};
