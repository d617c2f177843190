//! Numbered checkpoints for Llama ports on Candle.

pub mod error;
pub mod probe;
pub mod tokenizer;
pub mod weights;

pub use error::{Error, Result};
