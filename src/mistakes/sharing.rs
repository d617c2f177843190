//! Rows 46 to 49: schedulers that run several sequences in one step.

use super::mistake::{Kind, Mistake};

pub const ROWS: &[Mistake] = &[
    Mistake {
        number: 46,
        name: "other-cache",
        title: "you run a sequence on the cache of another one after a third one left",
        symptom: "under load, an answer continues another user's text",
        fingerprint: "a token's logits are those that it has after the other sequence's text",
        at: &["04"],
        wild: &["waybarrios/vllm-mlx#384", "tenstorrent/tt-metal#11061", "scouzi1966/maclocal-api#140"],
        fix: "keep each sequence together with its cache; do not find caches by their place in the batch",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 47,
        name: "stale-prefix",
        title: "you reuse a cache for a prompt that begins in another way",
        symptom: "answers refer to an earlier conversation; they are right after a restart",
        fingerprint: "more tokens are taken from a kept cache than the two texts have in common",
        at: &["04"],
        wild: &["vllm-project/vllm#17305", "tenstorrent/vllm#415"],
        fix: "compare every token of the prompt with those in the cache, and cut the cache at the first that differs",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 48,
        name: "chunk-position",
        title: "you count positions from 0 in every piece of a prompt",
        symptom: "long prompts get worse answers than short ones",
        fingerprint: "the first piece is exact; later pieces are rotated as if each began the text",
        at: &["04"],
        wild: &["huggingface/transformers#43082", "mlx-node/mlx-node#33"],
        fix: "count the position of a token from the start of its sequence, tokens in the cache included",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 49,
        name: "step-row",
        title: "you sample a sequence from another row of the step than that of its last token",
        symptom: "answers are mixed up whenever a prompt shares a step with other sequences",
        fingerprint: "a sequence's logits are those of another row of the same step",
        at: &["04"],
        wild: &["tenstorrent/tt-xla#5830", "guidance-ai/guidance#769"],
        fix: "keep for each sequence the row of its last token: the sum of all rows before it, plus its own, minus 1",
        kind: Kind::Mistake,
    },
];
