//! The rows of a forward pass that share a cache. A batch has one cache; sequences that are packed into one pass have
//! one each.

use candle_core::Tensor;

use super::cache::Cache;
use super::input::Input;
use crate::Result;

/// The next tokens of a sequence, and its cache.
#[derive(Debug)]
pub struct Lane<'a> {
    /// The tokens.
    pub input: &'a Input,
    /// What was computed for the tokens before them.
    pub cache: &'a mut Cache,
}

/// Checks all lanes before it extends the first cache, so that a refused lane leaves every cache as it was.
pub(super) fn extend(lanes: &mut [Lane<'_>], vocab: usize) -> Result<()> {
    for lane in lanes.iter() {
        lane.input.check(vocab)?;
        lane.cache.check(lane.input)?;
    }
    lanes.iter_mut().try_for_each(|lane| lane.cache.extend(lane.input))
}

/// `x`, `[b, s, width]`, with rows of zeros after its own if it has fewer than `rows`.
pub(super) fn filled(x: &Tensor, rows: usize) -> Result<Tensor> {
    Ok(x.pad_with_zeros(1, 0, rows.saturating_sub(x.dim(1)?))?)
}
