"""Mistakes in the attention scores: their scale, the heads, what is added, and the mask."""

import numpy as np

from port.dtypes import bf16, f16
from port.operations import Operations as Right

from .deviation import of

scores = of("scores", "self_attn.scores")


def scale(name, says, value, **more):
    """`value(config)` as the scale."""
    return scores(name, says, scale=lambda op: value(op.config), **more)


def visible(name, says, rule, **more):
    """`rule(query, key)` says which keys a query attends to."""
    return scores(name, says, visible=lambda op, s: rule(np.arange(s)[:, None], np.arange(s)[None]), **more)


def added(name, says, term, **more):
    """Adds `term(op, query, key)`, [heads or 1, s, s], to the scores."""

    def products(op, q, k):
        right = Right.products(op, q, k)
        row = np.arange(right.shape[-1])
        return op.round(right + np.float32(term(op, row[:, None], row[None])))

    return scores(name, says, products=products, **more)


def before(name, says, change, **more):
    """`change(op, scaled scores)`, before the mask."""
    return scores(name, says, products=lambda op, q, k: op.round(change(op, Right.products(op, q, k))), **more)


def inputs(name, says, change, **more):
    """`change(op, q, k)` returns the queries and keys that are multiplied."""
    return scores(name, says, products=lambda op, q, k: Right.products(op, *change(op, q, k)), **more)


def masked_with(value):
    """A finite number for masked scores instead of −∞."""
    return lambda op, x: op.round(np.where(op.visible(x.shape[-1]), x, np.float32(value)))


def softcap(limit):
    return lambda x: np.float32(limit) * np.tanh(x / np.float32(limit))


def slopes(heads):
    """ALiBi's slopes for a number of heads that is a power of two or not: [heads, 1, 1]."""
    power = 2 ** int(np.log2(heads))
    first = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    rest = [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * (heads - power), 2)]
    return np.array(first + rest)[:, None, None]


unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
rms = lambda x: x / np.sqrt(np.mean(x * x, -1, keepdims=True))
unrotated = lambda op, which: op.split(op.seen[f"self_attn.{which}_proj"])
causal = lambda i, j: j <= i

DEVIATIONS = [
    # Scale
    scale("scale-missing", "does not scale the scores", lambda c: 1.0),
    scale("scale-1/d", "scales by 1/head_dim", lambda c: 1 / c.head_dim, label="scale 1/d"),
    before("scale-twice", "scales by 1/√head_dim twice", lambda op, x: x * np.float32(op.scale()), label="scale 1/d"),
    scale("scale-hidden", "scales by 1/√hidden_size", lambda c: c.hidden**-0.5),
    scale(
        "scale-hidden/heads",
        "scales by √(heads / hidden_size), as if head_dim was hidden_size / heads",
        lambda c: (c.heads / c.hidden) ** 0.5,
    ),
    scale("scale-inverse", "multiplies by √head_dim", lambda c: c.head_dim**0.5),
    scale("scale-kv", "scales by 1/√(kv_heads · head_dim)", lambda c: (c.kv_heads * c.head_dim) ** -0.5),
    scale("scale-0.2", "scales by 0.2", lambda c: 0.2),
    scale("scale-negative", "scales by −1/√head_dim", lambda c: -(c.head_dim**-0.5)),
    # Heads
    scores("head-modulo", "uses key head h mod kv_heads", key_head=lambda op, h: h % op.config.kv_heads),
    scores(
        "head-tiled",
        "tiles keys and values, so query head h uses key and value head h mod kv_heads",
        key_head=lambda op, h: h % op.config.kv_heads,
        value_head=lambda op, h: h % op.config.kv_heads,
    ),
    scores(
        "head-reversed",
        "uses the key heads in reverse order",
        key_head=lambda op, h: op.config.kv_heads - 1 - Right.key_head(op, h),
    ),
    scores("head-first", "uses the first key head for all query heads", key_head=lambda op, h: 0),
    scores(
        "head-one-late",
        "uses for each query head the key head of the one before it",
        key_head=lambda op, h: Right.key_head(op, max(h - 1, 0)),
    ),
    scores(
        "head-half",
        "uses key head h / 2, as if every group had two heads",
        key_head=lambda op, h: h // 2 % op.config.kv_heads,
    ),
    # A function of the right scores
    before("softcap-50", "applies a softcap of 50", lambda op, x: softcap(50)(x)),
    before("softcap-10", "applies a softcap of 10", lambda op, x: softcap(10)(x)),
    scores(
        "softcap-after-mask",
        "applies a softcap of 20 after the mask, so masked scores are −20",
        mask=lambda op, x: op.round(softcap(20)(Right.mask(op, x))),
    ),
    before("clamped", "clamps scores to ±5", lambda op, x: np.clip(x, -5, 5)),
    before("bf16", "rounds the scores to bf16", lambda op, x: bf16(x)),
    before("f16", "rounds the scores to f16", lambda op, x: f16(x)),
    # Something added
    added("alibi", "adds ALiBi's biases", lambda op, i, j: -slopes(op.config.heads) * (i - j)),
    added(
        "alibi-negated", "adds ALiBi's biases with the wrong sign", lambda op, i, j: slopes(op.config.heads) * (i - j)
    ),
    added("distance-0.1", "subtracts 0.1 for each position between query and key", lambda op, i, j: -0.1 * (i - j)),
    added(
        "mask-of-ones",
        "adds 1 to visible scores: the mask itself is added too",
        lambda op, i, j: np.where(causal(i, j), 1.0, 0.0),
    ),
    added(
        "first-key-bias",
        "adds 2 to the scores of the first key",
        lambda op, i, j: np.where((j == 0) & (i >= 0), 2.0, 0.0),
    ),
    # What is multiplied
    inputs(
        "unrotated",
        "multiplies queries and keys as they were before rotation",
        lambda op, q, k: (unrotated(op, "q"), unrotated(op, "k")),
    ),
    inputs("q-unrotated", "multiplies queries as they were before rotation", lambda op, q, k: (unrotated(op, "q"), k)),
    inputs("k-unrotated", "multiplies keys as they were before rotation", lambda op, q, k: (q, unrotated(op, "k"))),
    inputs("k-of-v", "multiplies queries by values", lambda op, q, k: (q, op.split(op.seen["self_attn.v_proj"]))),
    inputs(
        "keys-one-late",
        "multiplies by the key before, as from a cache that is written one place late",
        lambda op, q, k: (q, np.roll(k, 1, 1)),
    ),
    inputs(
        "half-of-head",
        "multiplies only the first half of each head",
        lambda op, q, k: (q[..., : q.shape[-1] // 2], k[..., : k.shape[-1] // 2]),
    ),
    inputs("unit-length", "normalises queries and keys to unit length", lambda op, q, k: (unit(q), unit(k))),
    inputs("qk-norm", "applies RMSNorm to queries and keys after rotation", lambda op, q, k: (rms(q), rms(k))),
    scores(
        "transposed",
        "multiplies keys by queries, so the scores are transposed",
        products=lambda op, q, k: Right.products(op, q, k).transpose(0, 2, 1),
    ),
    # Mask
    visible("mask-missing", "applies no mask", lambda i, j: (i >= 0) & (j >= 0)),
    visible("mask-plus-1", "shows one key after the query", lambda i, j: j <= i + 1),
    visible(
        "mask-strict",
        "hides the query's own key, except in the first row",
        lambda i, j: (j < i) | ((i == 0) & (j == 0)),
    ),
    visible("mask-inverted", "shows the later keys and the query's own", lambda i, j: j >= i),
    visible(
        "mask-first-key", "hides the first key, except from itself", lambda i, j: causal(i, j) & ((j > 0) | (i == 0))
    ),
    visible("mask-last-column", "hides the key before the query's own", lambda i, j: causal(i, j) & (j != i - 1)),
    visible("window-4", "shows the query's own key and the three before it", lambda i, j: causal(i, j) & (i - j < 4)),
    visible("window-8", "shows the query's own key and the seven before it", lambda i, j: causal(i, j) & (i - j < 8)),
    visible("window-two-sided", "shows keys up to three positions away on both sides", lambda i, j: abs(i - j) < 4),
    visible("chunks-4", "shows only keys of the same chunk of four", lambda i, j: causal(i, j) & (i // 4 == j // 4)),
    visible("prefix-4", "shows the first four keys to every query", lambda i, j: causal(i, j) | (j < 4)),
    visible("every-other-key", "shows every other key", lambda i, j: causal(i, j) & ((i - j) % 2 == 0)),
    visible("cache-of-8", "shows only the first eight keys", lambda i, j: causal(i, j) & (j < 8)),
    visible(
        "sinks-and-window",
        "shows the first two keys and a window of four",
        lambda i, j: causal(i, j) & ((j < 2) | (i - j < 4)),
    ),
    scores("mask-of-10", "masks with −10 instead of −∞", mask=masked_with(-10)),
    scores("mask-of-zero", "masks by a product with 0, so masked scores are 0", mask=masked_with(0)),
    scores(
        "mask-minus-5",
        "subtracts 5 from masked scores",
        mask=lambda op, x: op.round(np.where(op.visible(x.shape[-1]), x, x - np.float32(5))),
    ),
]
