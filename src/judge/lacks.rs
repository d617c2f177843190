//! What checkpoints need that belongs to no case, and that the project's own oracle cannot compute.

/// For checkpoint 00.
pub(super) const OF_WEIGHTS: &str = "the config and the hashes of the tensors as PyTorch reads them";
/// For the texts of checkpoint 00B.
pub(super) const OF_TEXTS: &str = "token ids from the model's own tokenizer in transformers";
/// For checkpoint 08.
pub(super) const OF_SAMPLING: &str = "distributions from transformers' logits processors";
/// For checkpoint 09.
pub(super) const OF_GREEDY: &str = "PyTorch's greedy tokens";

/// Why something cannot be judged by the project's own oracle.
pub(super) fn needs(what: &str) -> String {
    format!("needs {what}, which the project's own oracle cannot compute")
}
