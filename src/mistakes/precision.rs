//! Rows 43 to 45: reductions in half precision, masks that are finite numbers, and rounding.

use super::mistake::{Kind, Mistake};

pub const ROWS: &[Mistake] = &[
    Mistake {
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
    },
    Mistake {
        number: 44,
        name: "mask-value",
        title: "you mask scores with a finite number that is too close to the other scores",
        symptom: "right for most texts; where scores are low, tokens attend to later tokens or to padding",
        fingerprint: "every masked score is the same number, or the right score plus that number, and its weight in \
              the softmax is not 0",
        at: &["03"],
        wild: &["TransformerLensOrg/TransformerLens#318", "Shujun-He/RibonanzaNet#5", "awslabs/gluonts#1401"],
        fix: "mask with −∞, or with the lowest number of the dtype",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 45,
        name: "bf16-truncated",
        title: "you convert to half precision by cutting bits off instead of rounding to the nearest number",
        symptom: "slightly worse text; activations shrink from layer to layer",
        fingerprint: "every value is within one rounding, but all errors point towards zero: −0.5 ulp on average, \
              where rounding gives 0",
        at: &["01", "02", "05"],
        wild: &["ROCm/aiter#5151", "tenstorrent/tt-metal#19882", "tile-ai/tilelang#2483"],
        fix: "round to nearest, ties to even: add 0x7fff and the lowest bit that is kept before the shift, or use the \
              library's conversion (`half::bf16::from_f32`)",
        kind: Kind::Mistake,
    },
];
