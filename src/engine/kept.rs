//! Caches of sequences that ended. The next turn of a conversation begins with the same tokens, which then need not go
//! through the model again.

use crate::Result;
use crate::model::Cache;

/// A cache, and the tokens in it.
#[derive(Debug)]
pub struct Kept {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Their keys and values.
    pub cache: Cache,
}

/// Removes or copies what the sequence `ids` can use of the caches in `kept`, and returns it; its last token is never
/// included, because its logits are needed. A cache whose tokens are all the beginning of the sequence is moved. Of
/// another one, the common beginning is copied if it has at least `worth` tokens; its own conversation can still use it.
///
/// # Errors
/// The device has no memory for a copy.
pub(super) fn reused(kept: &mut Vec<Kept>, ids: &[u32], worth: usize) -> Result<Option<Cache>> {
    let before_last = &ids[..ids.len().saturating_sub(1)];
    let common = |kept: &Kept| kept.ids.iter().zip(before_last).take_while(|(a, b)| a == b).count();
    let longest = (0..kept.len()).map(|at| (common(&kept[at]), at)).max();
    match longest {
        Some((len, at)) if len > 0 && len == kept[at].ids.len() => Ok(Some(kept.remove(at).cache)),
        Some((len, at)) if len >= worth.max(1) => Ok(Some(kept[at].cache.prefix(len)?)),
        _ => Ok(None),
    }
}
