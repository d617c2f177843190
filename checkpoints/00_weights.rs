//! 00 weights: the config as parsed, and every tensor's name, shape and bytes.
//!
//! Bytes are compared by SHA-256 of the float32 values in Hugging Face layout, against what
//! PyTorch's reader makes of the same file. Nothing is approximate here: dequantising a block is a
//! multiplication and an addition, and both readers do the same ones.
//!
//! Everything later rests on this: the oracle and the model read weights through the same reader.

use super::{Checkpoint, How};

pub const CHECKPOINT: Checkpoint = Checkpoint {
    id: "00",
    name: "weights",
    judges: "config as parsed; every tensor's name, shape and bytes against PyTorch's reader",
    how: How::Weights,
    trips: &[
        "rows of q and k left permuted when reading GGUF (or un-permuted twice)",
        "a default taken for a key that stands elsewhere: rope_theta in rope_parameters, head_dim ≠ hidden_size / heads",
        "a tied lm_head left at its initial values; an absent tensor left at zero",
        "a square matrix transposed: the shape is still right",
    ],
    suspects: &[
        "unpermuted-qk",
        "rope-theta",
        "rope-scaling",
        "qkv-split",
        "bias-dropped",
        "head-dim",
        "absent-tensors",
        "one-eos",
    ],
};
