//! Rows 1 to 8: rotations and positions.

use super::mistake::{Kind, Mistake};

pub const ROWS: &[Mistake] = &[
    Mistake {
        number: 1,
        name: "rope-pairing",
        title: "you rotate elements (2i, 2i+1) as pairs, but the weights need pairs (i, i + head_dim/2), or \
              the reverse",
        symptom: "the text is coherent for about thirty tokens, then it loops",
        fingerprint: "position 0 is exact; the norms of the vectors are right; the other pairing reproduces \
              the tensor",
        at: &["01B"],
        wild: &["huggingface/candle#3410", "ggml-org/llama.cpp#13261", "jzhang38/TinyLlama#24"],
        fix: "use the rotation that matches the row order of your q and k weights: `rope` for Hugging Face's \
              order, `rope_i` for GGUF's and Meta's; or reorder the rows of q and k; do not do both",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 2,
        name: "unpermuted-qk",
        title: "you leave the rows of q and k permuted when you read a GGUF file, or you un-permute them \
              twice",
        symptom: "gibberish; perplexity is in the thousands",
        fingerprint: "v is exact; q and k contain the right rows, but in another order within each head",
        at: &["00", "02"],
        wild: &["janhq/llama.cpp#505"],
        fix: "un-permute q and k once, when you read the file: row 2i + m of a head moves to row m · \
              head_dim/2 + i",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 3,
        name: "rope-theta",
        title: "you use a default rope θ instead of the config's",
        symptom: "short texts are fine; past a thousand tokens the text is incoherent",
        fingerprint: "position 0 and the first pair are exact; the slope of the other pairs' angles gives \
              the θ that you use",
        at: &["00", "01B"],
        wild: &["lyogavin/airllm#369", "vllm-project/vllm#9503", "vllm-project/vllm-ascend#5201"],
        fix: "read rope_theta; newer configs store it as rope_parameters.rope_theta, GGUF as \
              llama.rope.freq_base",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 4,
        name: "rope-scaling",
        title: "you ignore the config's rope scaling",
        symptom: "long texts loop",
        fingerprint: "fast pairs are exact; a few pairs in between are blended; slow pairs turn too fast by \
              the scaling factor",
        at: &["00", "01B"],
        wild: &[
            "Blaizzy/mlx-vlm#1710",
            "jmaczan/tiny-vllm#1",
            "ggml-org/llama.cpp#8676",
            "lablup/mlxcel#1355",
        ],
        fix: "scale the frequencies as rope_scaling says; refuse a scaling type that you do not know",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 5,
        name: "rope-half-tables",
        title: "you compute rope's cos and sin tables in half precision",
        symptom: "quality falls as the text gets longer",
        fingerprint: "errors grow with the position, most in the fast pairs; in bf16, positions past 256 \
              share their angles",
        at: &["01B"],
        wild: &["huggingface/candle#3005", "EleutherAI/gpt-neox#1003", "huggingface/transformers#29285"],
        fix: "compute positions, frequencies and angles in float32 or better; round only the final cos and \
              sin",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 6,
        name: "decode-position",
        title: "in decoding you rotate by a wrong position: it stays at 0, or it counts something else",
        symptom: "the first token is right, then the text is fluent but about something else",
        fingerprint: "the prefill is exact; in decoding v is exact, and k fits another position",
        at: &["04"],
        wild: &["Blaizzy/mlx-vlm#1983", "skyzh/tiny-llm#46", "jundot/omlx#2363"],
        fix: "take the position from the length of the cache: a token's position is the number of tokens \
              before it",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 7,
        name: "shared-counter",
        title: "your first layer advances a position counter that all layers read",
        symptom: "the first token is right, then the text drifts",
        fingerprint: "in decoding, layer 0 is exact and every later layer is one position ahead",
        at: &["04"],
        wild: &["fla-org/flash-linear-attention#766", "ml-explore/mlx-lm#1396"],
        fix: "advance the counter once per forward pass, after the last layer",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 8,
        name: "uncached-position",
        title: "without a cache you feed the whole text again at each step, but you continue to count \
              positions up",
        symptom: "the text is right with the cache and garbage without it",
        fingerprint: "the first step is exact; after that, every position is too large by the number of \
              tokens fed before",
        at: &["04"],
        wild: &["huggingface/candle#1517", "EricLBuehler/mistral.rs#765"],
        fix: "without a cache, start every forward pass at position 0",
        kind: Kind::Mistake,
    },
];
