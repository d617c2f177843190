//! The table of known defects: name, failed check, operations, dtypes, cases.

use candle_core::DType;
use candle_core::DType::{BF16, F16, F32, F64};

use super::super::row::Check;
use super::super::row::Check::{Bias, Dtype, Nan, Panicked, Refused, RowAlone, Values};
use super::defect::Known;

const HALF: &[DType] = &[BF16, F16];
const ALL: &[DType] = &[F32, BF16, F16];

const fn known(
    name: &'static str,
    check: Check,
    operations: &'static [&'static str],
    dtypes: &'static [DType],
    cases: &'static [&'static str],
) -> Known {
    Known { name, operations, dtypes, cases, check, varies: false }
}

/// A defect that depends on the processor: it may be absent from any of these cases.
const fn varies(
    name: &'static str,
    check: Check,
    operations: &'static [&'static str],
    dtypes: &'static [DType],
) -> Known {
    Known { name, operations, dtypes, cases: &[], check, varies: true }
}

/// The operations on quantised blocks that round activations.
const BLOCKS: &[&str] = &[
    "qmatmul q2k",
    "qmatmul q3k",
    "qmatmul q4_0",
    "qmatmul q4_1",
    "qmatmul q4k",
    "qmatmul q5_0",
    "qmatmul q5_1",
    "qmatmul q5k",
    "qmatmul q6k",
    "qmatmul q8_0",
];

pub(super) const KNOWN: &[Known] = &[
    known("argmax-nan", Values, &["argmax"], ALL, &["1x8 NaN in the middle", "1x8 NaN last"]),
    known("cache-clone", Values, &["kv_cache clone"], ALL, &[]),
    known(
        "contiguous-only",
        Refused,
        &["embedding"],
        ALL,
        &["2x5 ids of 97x65 transposed", "2x5 ids of 97x65 gaps"],
    ),
    known(
        "contiguous-only",
        Refused,
        &["index_select"],
        ALL,
        &["7 ids of 97x65 transposed", "7 ids of 97x65 gaps"],
    ),
    known(
        "contiguous-only",
        Refused,
        &["kv_cache append"],
        ALL,
        &["5 positions, gaps", "5 positions, transposed"],
    ),
    known("contiguous-only", Refused, &["layer_norm", "rms_norm"], ALL, &["3x577 gaps"]),
    known("contiguous-only", Refused, &["rope", "rope_i", "rope_thd"], ALL, &["2x3x5x64 gaps"]),
    known("contiguous-only", Refused, &["softmax_last_dim"], ALL, &["3x65 gaps"]),
    known("empty-axis", Refused, &["argmax"], ALL, &["0x8"]),
    known("empty-axis", Panicked, &["layer_norm", "rms_norm", "softmax_last_dim"], ALL, &["3x0"]),
    known("empty-axis", Panicked, &["rope", "rope_i", "rope_thd"], ALL, &["2x3x0x64"]),
    known("empty-axis", Refused, &["softmax"], ALL, &["0x8", "3x0"]),
    known(
        "flash-batch",
        Refused,
        &["flash_attn"],
        &[BF16],
        &[
            "batch of 2, 3 queries, 8 keys",
            "batch of 2, 3 queries, 8 keys, causal with offset 5",
            "batch of 2, 3 queries, 8 keys, causal with offset 2",
        ],
    ),
    known("flash-batch", Refused, &["flash_attn"], ALL, &["batch of 2, mask"]),
    known(
        "flash-dtype",
        Dtype,
        &["flash_attn"],
        HALF,
        &[
            "1 query, 1 key",
            "7 queries, 7 keys, causal",
            "3 queries, 8 keys, causal with offset 5",
            "3 queries, 8 keys, causal with offset 2",
            "1 query, 8 keys, causal with offset 3",
            "1 query, 4200 keys",
            "70 queries, 300 keys, causal with offset 230",
            "3 queries, 8 keys, softcap",
            "5 queries, 9 keys, mask",
            "5 queries, 9 keys, mask of 4 heads",
            "3 queries, 8 keys, offset",
            "3 queries, 8 keys, gaps",
            "3 queries, 8 keys, transposed",
            "3 queries, 0 keys",
        ],
    ),
    known(
        "flash-dtype",
        RowAlone,
        &["flash_attn"],
        &[F16],
        &[
            "batch of 2, 3 queries, 8 keys",
            "batch of 2, 3 queries, 8 keys, causal with offset 5",
            "batch of 2, 3 queries, 8 keys, causal with offset 2",
        ],
    ),
    known("flash-mask-of-heads", Values, &["flash_attn"], ALL, &["5 queries, 9 keys, mask of 4 heads"]),
    known(
        "flash-offset",
        RowAlone,
        &["flash_attn"],
        &[F32],
        &["batch of 2, 3 queries, 8 keys, causal with offset 2"],
    ),
    known("flash-offset", Values, &["flash_attn"], ALL, &["1 query, 8 keys, causal with offset 3"]),
    known(
        "flash-offset",
        Values,
        &["flash_attn"],
        &[F32, F16],
        &["batch of 2, 3 queries, 8 keys, causal with offset 2"],
    ),
    known("flash-strides", Nan, &["flash_attn"], ALL, &["3 queries, 8 keys, transposed"]),
    known("flash-strides", Values, &["flash_attn"], ALL, &["3 queries, 8 keys, transposed"]),
    known("float64-rounding", Values, &["cast"], &[F64], &["ties to bf16", "ties to f16"]),
    known("half-activation", Bias, &["gelu"], &[BF16], &["2x3x577", "3x4097", "2x600 from -6 to 0"]),
    known("half-activation", Bias, &["gelu"], HALF, &["3x577 offset", "3x577 gaps"]),
    known(
        "half-activation",
        Values,
        &["gelu"],
        HALF,
        &["3x7", "2x3x577", "3x4097", "3x577 offset", "3x577 gaps", "6x5 transposed", "2x600 from -6 to 0"],
    ),
    known("half-activation", Bias, &["silu"], &[F16], &["2x600 from -16 to -8"]),
    known("half-activation", Values, &["silu"], &[F16], &["2x600 from -16 to -8"]),
    known("half-divisor", Bias, &["rms_norm"], HALF, &["2x5x576", "3x4097", "40x513", "3x577 offset"]),
    known("half-layer-norm", Values, &["layer_norm_slow"], &[BF16], &["3x7"]),
    known(
        "half-layer-norm",
        Values,
        &["layer_norm_slow"],
        HALF,
        &["2x5x576", "3x4097", "40x513", "3x577 offset", "3x577 gaps"],
    ),
    known(
        "half-softmax",
        Values,
        &["softmax"],
        HALF,
        &["2x3x5x65", "3x4097", "2x4096 equal", "2x8192 equal", "3x65 offset", "3x65 gaps", "577x3 axis 0"],
    ),
    known(
        "half-softmax",
        Bias,
        &["softmax", "softmax_last_dim"],
        HALF,
        &["3x4097", "2x4096 equal", "2x8192 equal"],
    ),
    known("half-softmax", Bias, &["softmax", "softmax_last_dim"], &[BF16], &["2x512 equal", "2x1024 equal"]),
    known(
        "half-softmax",
        Values,
        &["softmax", "softmax_last_dim"],
        &[BF16],
        &["2x512 equal", "2x1024 equal"],
    ),
    known("half-softmax", Values, &["softmax", "softmax_last_dim"], &[F16], &["3x7"]),
    known(
        "half-softmax",
        Values,
        &["softmax_last_dim"],
        HALF,
        &["2x3x5x65", "3x4097", "2x4096 equal", "2x8192 equal", "3x65 offset"],
    ),
    known(
        "half-sum",
        Values,
        &["sum"],
        HALF,
        &[
            "2x3x577",
            "3x4099",
            "2x4099 ones",
            "3x577 offset",
            "3x577 gaps",
            "70x577 transposed",
            "4099x3 axis 0",
        ],
    ),
    known("half-sum", Values, &["sum"], &[F16], &["1x8 cancelling"]),
    known("half-sum", Values, &["sum_all"], &[BF16], &["3x577"]),
    known("half-sum", Values, &["sum_all"], HALF, &["4099 ones"]),
    known("layer-norm-one-pass", Nan, &["layer_norm"], &[F32], &["2x576 mean 10000"]),
    known(
        "layer-norm-one-pass",
        Values,
        &["layer_norm"],
        &[F32],
        &["2x576 mean 100", "2x576 mean 1000", "2x576 mean 10000"],
    ),
    known("rms-norm-float64", Refused, &["rms_norm"], &[F64], &[]),
    known("rms-norm-overflow", Values, &["rms_norm", "rms_norm_slow"], &[F32], &["2x576 of 1e20"]),
    known(
        "rope-long-table",
        RowAlone,
        &["rope", "rope_i", "rope_thd"],
        ALL,
        &["2x3x5x64 own positions, longer table"],
    ),
    known(
        "rope-long-table",
        Values,
        &["rope", "rope_i", "rope_thd"],
        ALL,
        &["2x3x5x64 own positions, longer table"],
    ),
    known("rope-one-dtype", Refused, &["rope", "rope_i", "rope_thd"], HALF, &["2x3x5x64 f32 tables"]),
    known("sdpa-metal-only", Refused, &["sdpa"], &[F32], &[]),
    varies("f16-product", Values, &["matmul", "linear"], &[F16]),
    varies("row-order", RowAlone, &["matmul", "linear"], ALL),
    varies("row-order", RowAlone, BLOCKS, &[F32]),
    varies("row-order", RowAlone, &["qmatmul f16", "qmatmul bf16"], &[F32]),
    varies("strided-order", RowAlone, &["sum", "layer_norm_slow"], &[F32]),
    varies("quantized-nan", Nan, BLOCKS, &[F32]),
];
