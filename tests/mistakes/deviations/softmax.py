"""Mistakes in the softmax, and in the sum of values that it weighs."""

import numpy as np

from port.dtypes import bf16, f16, integers
from port.operations import Operations as Right

from .deviation import of

softmax = of("softmax", "self_attn.probs")
context = of("context", "self_attn.context")


def exponentials(x):
    """exp(x − the largest score of the row), [heads, s, s]; 0 where masked."""
    return np.exp(x - x.max(-1, keepdims=True))


def of_scores(change):
    """The right softmax of `change(scores)`."""
    return lambda op, x: Right.softmax(op, change(x))


def divided(change, total):
    """`change(e) / total(e)` of the exponentials."""
    return lambda op, x: op.round(change(e := exponentials(x)) / total(e))


def after(change):
    """`change(right probabilities)`."""
    return lambda op, x: op.round(change(Right.softmax(op, x)))


def powers(base):
    return of_scores(lambda x: x * np.float32(np.log(base)))


def over(axis):
    """Softmax over another axis. Rows without any visible key are 0."""

    def wrong(op, x):
        e = np.exp(x - x.max(axis, keepdims=True))
        return op.round(np.nan_to_num(e / e.sum(axis, keepdims=True), nan=0.0))

    return wrong


def in_f16(op, x):
    """exp of the scores in float16, without subtracting the largest: above 11.09 it is infinite."""
    e = np.exp(x.astype(np.float16))
    return op.round((e / e.sum(-1, keepdims=True, dtype=np.float16)).astype(np.float32))


def blocks_not_rescaled(op, x, size=4):
    """Each block of keys subtracts its own largest score, and the sums are added without rescaling."""
    parts = [np.nan_to_num(exponentials(x[..., j : j + size]), nan=0.0) for j in range(0, x.shape[-1], size)]
    e = np.concatenate(parts, -1)
    return op.round(e / e.sum(-1, keepdims=True))


def uniform(op, x):
    """1/n for each of the n visible keys."""
    seen = np.isfinite(x)
    return op.round(np.float32(1) * seen / seen.sum(-1, keepdims=True).astype(np.float32))


def largest(count):
    """Only the `count` largest probabilities, renormalised."""

    def kept(p):
        limit = np.sort(p, -1)[..., -count, None]
        p = np.where(p >= limit, p, np.float32(0))
        return p / p.sum(-1, keepdims=True)

    return kept


def dropout(p):
    """Dropout with probability 0.1, as in training."""
    return np.where(np.random.default_rng(1).random(p.shape) < 0.1, np.float32(0), p / np.float32(0.9))


total = lambda e: e.sum(-1, keepdims=True)
shown = lambda x: np.isfinite(x).sum(-1, keepdims=True).astype(np.float32)
same = lambda e: e

DEVIATIONS = [
    softmax("temperature-2", "divides the scores by 2 in the softmax", softmax=of_scores(lambda x: x / 2)),
    softmax(
        "temperature-0.5",
        "multiplies the scores by 2 in the softmax",
        label="scores × 2",
        softmax=of_scores(lambda x: x * 2),
    ),
    softmax("base-2", "uses powers of 2 instead of e", label="temperature 1/ln 2", softmax=powers(2)),
    softmax(
        "temperature-1/ln2",
        "divides the scores by 1/ln 2 in the softmax",
        label="temperature 1/ln 2",
        softmax=of_scores(lambda x: x / np.float32(1 / np.log(2))),
    ),
    softmax("base-10", "uses powers of 10 instead of e", softmax=powers(10)),
    softmax("over-queries", "sums over the queries instead of the keys", softmax=over(-2)),
    softmax("over-heads", "sums over the heads instead of the keys", softmax=over(0)),
    softmax(
        "plus-one",
        "adds 1 to the sum: exp(0 − max)",
        softmax=lambda op, x: op.round(exponentials(x) / (total(exponentials(x)) + np.exp(-x.max(-1, keepdims=True)))),
    ),
    softmax(
        "plus-one-after-max",
        "adds 1 to the sum of the shifted exponentials",
        softmax=divided(same, lambda e: total(e) + 1),
    ),
    softmax("sigmoid", "uses a sigmoid for each score", softmax=lambda op, x: op.round(1 / (1 + np.exp(-x)))),
    softmax("uniform", "gives every visible key the same weight", softmax=uniform),
    softmax(
        "relu",
        "uses max(x, 0), divided by its sum",
        softmax=lambda op, x: op.round((r := np.maximum(x, np.float32(0))) / np.maximum(total(r), np.float32(1e-6))),
    ),
    softmax("not-divided", "does not divide by the sum", softmax=divided(same, lambda e: np.float32(1))),
    softmax(
        "divided-by-count",
        "divides by the number of visible keys instead of the sum",
        softmax=lambda op, x: op.round(exponentials(x) / shown(x)),
    ),
    softmax(
        "twice",
        "applies the softmax twice",
        softmax=lambda op, x: Right.softmax(op, np.where(np.isfinite(x), Right.softmax(op, x), x)),
    ),
    softmax("sum-bf16", "sums the exponentials in bf16", softmax=divided(same, lambda e: bf16(total(bf16(e))))),
    softmax(
        "bf16",
        "rounds exponentials, sum and result to bf16",
        softmax=lambda op, x: bf16(bf16(exponentials(x)) / bf16(total(bf16(exponentials(x))))),
    ),
    softmax("exp-f16", "rounds the exponentials to f16", softmax=divided(f16, lambda e: total(f16(e)))),
    softmax(
        "f16-without-max", "computes in f16 without subtracting the largest score, which overflows", softmax=in_f16
    ),
    softmax("8-bits", "rounds the probabilities to 8-bit integers", softmax=after(lambda p: integers(p, 8))),
    softmax("top-4", "keeps the four largest probabilities", softmax=after(largest(4))),
    softmax("dropout", "applies dropout", softmax=after(dropout)),
    softmax("blocks", "does not rescale the sums of blocks of four keys", softmax=blocks_not_rescaled),
    softmax(
        "squared",
        "squares the probabilities, and normalises them again",
        label="scores × 2",
        softmax=of_scores(lambda x: x * 2),
    ),
    # The weighted sum
    context("head-modulo", "uses value head h mod kv_heads", value_head=lambda op, h: h % op.config.kv_heads),
    context(
        "head-reversed",
        "uses the value heads in reverse order",
        value_head=lambda op, h: op.config.kv_heads - 1 - Right.value_head(op, h),
    ),
    context("head-first", "uses the first value head for all query heads", value_head=lambda op, h: 0),
    context(
        "axes-not-moved",
        "flattens [heads, s, head_dim] without moving the heads behind the positions",
        merge=lambda op, x: x.reshape(x.shape[1], -1),
    ),
    context(
        "merged-by-dim",
        "merges the heads with head_dim first",
        merge=lambda op, x: x.transpose(1, 2, 0).reshape(x.shape[1], -1),
    ),
    context("heads-reversed", "merges the heads in reverse order", merge=lambda op, x: Right.merge(op, x[::-1])),
    context("heads-rotated", "puts every head one place late", merge=lambda op, x: Right.merge(op, np.roll(x, 1, 0))),
    context(
        "one-head-zero",
        "leaves the third head zero",
        merge=lambda op, x: Right.merge(op, np.where(np.arange(len(x))[:, None, None] == 2, np.float32(0), x)),
    ),
    context(
        "values-one-late",
        "uses the value before, as from a cache that is written one place late",
        context=lambda op, p, v: Right.context(op, p, np.roll(v, 1, 1)),
    ),
    context("values-rotated", "rotates the values too", context=lambda op, p, v: Right.context(op, p, op.rope("k", v))),
    context(
        "values-are-keys",
        "uses the rotated keys as values",
        context=lambda op, p, v: Right.context(op, p, op.seen["self_attn.k_rope"]),
    ),
    context(
        "probs-transposed",
        "transposes the probabilities",
        context=lambda op, p, v: Right.context(op, p.transpose(0, 2, 1), v),
    ),
    context(
        "probs-bf16",
        "rounds the probabilities to bf16 before the product",
        context=lambda op, p, v: Right.context(op, bf16(p), v),
    ),
    context(
        "values-int8",
        "reads the values from a cache of 8-bit integers",
        context=lambda op, p, v: Right.context(op, p, integers(v, 8)),
    ),
    context(
        "halved", "multiplies the result by 0.5", context=lambda op, p, v: Right.context(op, p, v) * np.float32(0.5)
    ),
    context(
        "previous-row",
        "returns for each query the result of the one before",
        merge=lambda op, x: np.roll(Right.merge(op, x), 1, 0),
    ),
    context(
        "last-key-missing",
        "leaves out the query's own value",
        context=lambda op, p, v: Right.context(op, p * (1 - np.eye(p.shape[-1], dtype=np.float32)), v),
    ),
]
