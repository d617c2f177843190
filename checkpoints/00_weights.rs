//! 00 weights: compares the parsed config and every tensor's name, shape and bytes with PyTorch's.
//!
//! Bytes are compared by the SHA-256 of the float32 values in Hugging Face layout; the reference is what
//! PyTorch's reader returns for the same file. The comparison is exact: dequantising a block takes one
//! multiplication and one addition, and both readers do the same ones.
//!
//! The tokenizer's vocabulary, merges, special tokens and chat template are compared by hash, too: the texts of 00B
//! contain only some of the tokens. They are compared even if this program cannot use the tokenizer, so a damaged one
//! fails. One that is missing, of another kind than BPE, or only not supported does not.
//!
//! All later checkpoints depend on this one, because the oracle and the model read weights through the same
//! reader.

use super::{Checkpoint, How};

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "00",
    name: "weights",
    judges: "the parsed config, and every tensor's name, shape and bytes, against PyTorch's reader",
    how: How::Weights,
    trips: &[
        "you leave the rows of q and k permuted when you read a GGUF file, or un-permute them twice",
        "you use a default for a key that is stored elsewhere: rope_theta in rope_parameters, head_dim ≠ hidden_size / heads",
        "you leave a tied lm_head at its initial values, or a missing tensor at zero",
        "you transpose a square matrix: its shape is still right",
    ],
    suspects: &[
        "unpermuted-qk",
        "rope-theta",
        "rope-scaling",
        "qkv-split",
        "bias-dropped",
        "head-dim",
        "absent-tensors",
        "special-tokens",
        "one-eos",
    ],
};
