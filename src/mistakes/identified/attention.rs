//! Deviations of the attention, the activation and the residual sums.

use super::kind::Identified;

pub(super) const KINDS: &[Identified] = &[
    Identified {
        name: "score-term",
        operation: "scores",
        title: "something is added to the scores: ALiBi, a bias by distance, a constant, a bias of the first key",
        fix: "add nothing but the mask to the scaled scores",
    },
    Identified {
        name: "score-softcap",
        operation: "scores",
        title: "the scores have another softcap than the config says, or one where it has none, or none where it has one",
        fix: "apply c · tanh(x / c) before the mask, with attn_logit_softcapping as c; only Gemma 2 has it",
    },
    Identified {
        name: "score-inputs",
        operation: "scores",
        title: "queries and keys are changed before their product: normed, cut, exchanged",
        fix: "multiply the rotated queries by the rotated keys, whole heads, nothing between",
    },
    Identified {
        name: "visible-keys",
        operation: "scores",
        title: "other keys are visible: a window, chunks, keys ahead, a key missing, a finite mask",
        fix: "let a query at position p see all keys at positions ≤ p",
    },
    Identified {
        name: "softmax-temperature",
        operation: "softmax",
        title: "the scores are divided by a temperature, or another base than e is used",
        fix: "use e^x of the scores as they are",
    },
    Identified {
        name: "softmax-form",
        operation: "softmax",
        title: "another function, another axis, another term in the sum, another precision",
        fix: "divide e^(x − max) of each row by the sum over its keys, in f32",
    },
    Identified {
        name: "context-form",
        operation: "context",
        title: "heads are merged in the wrong order, or other probabilities or values are multiplied",
        fix: "multiply probabilities by values per head, move the head axis behind the positions, then merge",
    },
    Identified {
        name: "activation-function",
        operation: "activation",
        title: "another function of gate",
        fix: "use the config's function: SiLU, x · σ(x), or in Gemma GELU's tanh approximation",
    },
    Identified {
        name: "activation-cancels",
        operation: "activation",
        title: "SiLU is computed by a subtraction in half precision, which loses the digits of small values",
        fix: "compute x · σ(x), or x / (1 + e^−x), in f32",
    },
    Identified {
        name: "gated-product",
        operation: "product",
        title: "gate and up are combined in another way",
        fix: "compute silu(gate) · up",
    },
    Identified {
        name: "residual-sum",
        operation: "sum",
        title: "other tensors are added, with other factors, or normed",
        fix: "add the branch's output once to the tensor that the branch's norm read",
    },
];
