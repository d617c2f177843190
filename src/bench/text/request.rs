//! What to measure of a model.

use candle_core::DType;

use crate::model::Path;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Request {
    /// The dtype that the model computes in.
    pub dtype: DType,
    /// Its attention and products.
    pub path: Path,
    /// Number of tokens of the prompt.
    pub prompt_tokens: usize,
    /// Number of tokens that are generated after it.
    pub new_tokens: usize,
    /// How often prefill and decode are measured; the fastest run counts.
    pub runs: usize,
}
