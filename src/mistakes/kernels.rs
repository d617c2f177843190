//! Rows 29 to 32: kernels and devices.

use super::mistake::{Kind, Mistake};

pub const ROWS: &[Mistake] = &[
    Mistake {
        number: 29,
        name: "gemm-reduced",
        title: "your matrix products accumulate in reduced precision",
        symptom: "slightly worse text, on one device only",
        fingerprint: "CUDA only; the difference disappears when you forbid reduced-precision reductions",
        at: &["02", "05"],
        wild: &["huggingface/candle#2274", "NVIDIA/TensorRT-LLM#16753"],
        fix: "turn reduced-precision reductions off: \
              `candle_core::cuda::set_gemm_reduced_precision_bf16(false)`",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 30,
        name: "storage-offset",
        title: "your kernel ignores its input's storage offset or strides",
        symptom: "nonsense that disappears when you copy the tensor",
        fingerprint: "a contiguous copy of the input gives the right result",
        at: &["03"],
        wild: &["EricLBuehler/mistral.rs#1901", "huggingface/candle#3836"],
        fix: "read start_offset and strides from the layout, or require contiguous input and check it",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 31,
        name: "missing-barrier",
        title: "threads of your kernel read values that other threads have not written yet",
        symptom: "long texts differ from run to run",
        fingerprint: "only long rows differ, and two runs do not agree",
        at: &["03"],
        wild: &["huggingface/candle@4eeaf205d"],
        fix: "put a barrier between writing shared memory and reading it",
        kind: Kind::Mistake,
    },
    Mistake {
        number: 32,
        name: "device-kernel",
        title: "the device has no kernel for an operation, or a wrong one",
        symptom: "right on the CPU; on the device, every prompt gives the same text",
        fingerprint: "the logits do not depend on the input",
        at: &["07"],
        wild: &[
            "ggml-org/llama.cpp#20659",
            "ggml-org/llama.cpp#7048",
            "paiml/aprender#1650",
            "paiml/aprender#2971",
        ],
        fix: "run the checkpoints on the device; the first wrong site shows which operation it is",
        kind: Kind::Mistake,
    },
];
