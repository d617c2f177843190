//! Numbered checkpoints for Llama ports on Candle.

#[path = "../checkpoints/mod.rs"]
pub mod checkpoints;
pub mod compare;
pub mod error;
pub mod generate;
pub mod judge;
pub mod model;
pub mod models;
pub mod probe;
pub mod reference;
pub mod report;
pub mod tokenizer;
pub mod weights;

pub use error::{Error, Result};
