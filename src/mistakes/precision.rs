//! Row 43: reductions in half precision.

use super::mistake::{Kind, Mistake};

pub const ROWS: &[Mistake] = &[Mistake {
    number: 43,
    name: "softmax-half",
    title: "you sum the softmax in bf16 or f16",
    symptom: "right while texts are short; past 256 keys in bf16, 2048 in f16, attention is too large by a \
          factor",
    fingerprint: "the probabilities of a row do not sum to 1; the error grows with the number of keys",
    at: &["03"],
    wild: &["huggingface/candle#3727", "sonos/tract#2586", "pytorch/executorch#20089"],
    fix: "convert to f32 before the softmax and back after it: `softmax_last_dim` sums in its tensor's dtype",
    kind: Kind::Mistake,
}];
