"""Mistakes in a projection other than which matrix it uses: precision, missing rows, scale, bias, and what it reads."""

import numpy as np

from port.dtypes import bf16, f16, integers, mantissa, tf32
from port.operations import Operations as Right

from .linear import QKV, linear, matrix, site


def output(name, which, says, change, **more):
    """A deviation of what the projection `which` returns: `change(op, right output)`."""
    changed = lambda op, asked, x: (
        op.round(change(op, Right.linear(op, asked, x))) if asked == which else Right.linear(op, asked, x)
    )
    return linear(name, says, site=site(which), linear=changed, **more)


def reads(name, which, says, change, **more):
    """The projections in `which` read `change(op, right input)`. The first of them is the first wrong one."""
    changed = lambda op, asked, x: Right.linear(op, asked, change(op, x) if asked in which else x)
    return linear(name, says, site=site(which[0]), linear=changed, **more)


def product(name, says, multiply):
    """Every matrix product is `multiply(x, w)`, with w of shape [out, in]."""
    return linear(name, says, linear=lambda op, which, x: op.round(multiply(x, op.matrix(which))))


def zero(rows=slice(None), columns=slice(None)):
    """The matrix with zeros in these rows or columns."""

    def changed(_, w):
        w = w.copy()
        w[rows, columns] = 0
        return w

    return changed


def summed_in_f16(x, w, block=16):
    """Partial products of 16 terms, added up in float16."""
    total = np.float32(0)
    for start in range(0, x.shape[1], block):
        total = f16(total + f16(x[:, start : start + block] @ w[:, start : start + block].T))
    return total


def e4m3(w):
    """Roughly 8-bit floats: three bits of mantissa, one scale for the whole matrix, no subnormal numbers."""
    scale = np.float32(448) / np.abs(w).max()
    return mantissa(w * scale, 3) / scale


def times(factor):
    return lambda _, x: x * np.float32(factor)


stream = lambda op, x: op.seen["input"]
ALL = (*QKV, "o_proj", "gate_proj", "up_proj", "down_proj")
every = lambda change: lambda op, which: change(Right.matrix(op, which))

DEVIATIONS = [
    # Rounded weights
    matrix("gate-bf16", "gate_proj", "rounds gate_proj to bf16", lambda op, w: bf16(w)),
    matrix(
        "q-int8-rows",
        "q_proj",
        "rounds q_proj to 8-bit integers with one scale for each row",
        lambda op, w: integers(w, 8),
    ),
    matrix("v-6-bits", "v_proj", "rounds v_proj to 6 bits in blocks of 16", lambda op, w: integers(w, 6, 16)),
    matrix(
        "down-int4-blocks", "down_proj", "rounds down_proj to 4 bits in blocks of 32", lambda op, w: integers(w, 4, 32)
    ),
    matrix("o-e4m3", "o_proj", "rounds o_proj to 8-bit floats", lambda op, w: e4m3(w)),
    linear(
        "all-int8-blocks",
        "rounds every matrix to 8-bit integers in blocks of 32",
        matrix=every(lambda w: integers(w, 8, 32)),
    ),
    # Rows and columns that are zero
    matrix(
        "q-last-head-zero", "q_proj", "has zeros in the rows of the last head of q_proj", zero(rows=slice(-32, None))
    ),
    matrix("v-first-head-zero", "v_proj", "has zeros in the rows of the first head of v_proj", zero(rows=slice(0, 32))),
    matrix("gate-last-row-zero", "gate_proj", "has zeros in the last row of gate_proj", zero(rows=-1)),
    matrix(
        "down-half-zero",
        "down_proj",
        "has zeros in the second half of the rows of down_proj",
        zero(rows=slice(64, None)),
    ),
    matrix(
        "down-shard-missing",
        "down_proj",
        "has zeros in the second half of the columns of down_proj",
        zero(columns=slice(128, None)),
    ),
    matrix("up-first-column-zero", "up_proj", "has zeros in the first column of up_proj", zero(columns=0)),
    matrix(
        "o-last-head-zero",
        "o_proj",
        "has zeros in the columns of o_proj that belong to the last head",
        zero(columns=slice(-32, None)),
    ),
    # Scale, bias, limits
    output("q-doubled", "q_proj", "multiplies q by 2", times(2)),
    output("v-halved", "v_proj", "multiplies v by 0.5", times(0.5)),
    output("k-negated", "k_proj", "multiplies k by −1", times(-1)),
    output("gate-by-1.1", "gate_proj", "multiplies the gate by 1.1", times(1.1)),
    output("up-doubled", "up_proj", "multiplies up by 2", times(2)),
    output(
        "o-by-depth",
        "o_proj",
        "divides the output of o_proj by √(2 · layers)",
        lambda op, y: y / np.float32((2 * op.config.layers) ** 0.5),
    ),
    output(
        "down-by-depth",
        "down_proj",
        "divides the output of down_proj by √(2 · layers)",
        lambda op, y: y / np.float32((2 * op.config.layers) ** 0.5),
    ),
    output("q-scaled-early", "q_proj", "multiplies q by 1/√head_dim, and the scores again", times(32**-0.5)),
    output("q-bias", "q_proj", "adds 0.1 to q", lambda op, y: y + np.float32(0.1)),
    output(
        "v-bias-of-norm",
        "v_proj",
        "adds the first values of the norm's weight to v as a bias",
        lambda op, y: y + op.weight("input_layernorm")[: y.shape[1]],
    ),
    output(
        "down-bias",
        "down_proj",
        "adds the second norm's weight to the output of down_proj as a bias",
        lambda op, y: y + op.weight("post_attention_layernorm"),
    ),
    output("q-clipped", "q_proj", "clips q to ±2", lambda op, y: np.clip(y, -2, 2)),
    output("down-clipped", "down_proj", "clips the output of down_proj to ±1", lambda op, y: np.clip(y, -1, 1)),
    output("gate-relu", "gate_proj", "applies ReLU to gate_proj, before SiLU", lambda op, y: np.maximum(y, 0)),
    output(
        "q-l2",
        "q_proj",
        "normalises each query to unit length before rotation",
        lambda op, y: (
            (h := y.reshape(len(y), -1, op.config.head_dim)) / np.linalg.norm(h, axis=-1, keepdims=True)
        ).reshape(y.shape),
    ),
    output("v-next-row", "v_proj", "returns for each position the value of the next", lambda op, y: np.roll(y, -1, 0)),
    # What it reads
    reads("qkv-un-normed", QKV, "computes q, k and v from the input of the norm", stream),
    reads("kv-un-normed", ("k_proj", "v_proj"), "computes k and v from the input of the norm", stream),
    reads("v-un-normed", ("v_proj",), "computes v from the input of the norm", stream),
    reads(
        "mlp-un-normed",
        ("gate_proj", "up_proj"),
        "computes gate and up from the input of the norm",
        lambda op, x: op.seen["post_attention_layernorm.input"],
    ),
    reads(
        "up-un-normed",
        ("up_proj",),
        "computes up from the input of the norm",
        lambda op, x: op.seen["post_attention_layernorm.input"],
    ),
    reads(
        "mlp-first-norm",
        ("gate_proj", "up_proj"),
        "computes gate and up from the output of the first norm",
        lambda op, x: op.seen["input_layernorm"],
    ),
    reads(
        "mlp-of-attention",
        ("gate_proj", "up_proj"),
        "computes gate and up from the output of the attention",
        lambda op, x: op.seen["self_attn.o_proj"],
    ),
    reads(
        "q-normed-twice",
        ("q_proj",),
        "computes q from an input that is normalised twice",
        lambda op, x: op.norm("input_layernorm", x),
    ),
    reads("q-previous-row", ("q_proj",), "computes q from the row before", lambda op, x: np.roll(x, 1, 0)),
    reads(
        "o-previous-row",
        ("o_proj",),
        "computes the output projection from the row before",
        lambda op, x: np.roll(x, 1, 0),
    ),
    reads(
        "down-of-gate",
        ("down_proj",),
        "computes the down projection from the gate alone, before the activation",
        lambda op, x: op.seen["mlp.gate_proj"],
    ),
    reads(
        "input-int8",
        ALL,
        "rounds the input of every projection to 8-bit integers with one scale for each row",
        lambda op, x: integers(x, 8),
    ),
    # How it multiplies
    product("tf32", "multiplies in TF32", lambda x, w: tf32(x) @ tf32(w).T),
    product("bf16-inputs", "rounds both factors of every product to bf16", lambda x, w: bf16(x) @ bf16(w).T),
    product("f16-inputs", "rounds both factors of every product to f16", lambda x, w: f16(x) @ f16(w).T),
    product("f16-output", "rounds every product to f16", lambda x, w: f16(x @ w.T)),
    product("f16-sums", "adds up every product in f16", summed_in_f16),
]
