"""Mistakes before the first layer and after the last: the embedding and the logits."""

import numpy as np

from port.dtypes import bf16, f16, integers
from port.operations import Operations as Right

from .deviation import of
from .linear import column_major
from .linear_values import zero

embedding = of("embedding", "model.embed_tokens", at="ends")
logits = of("logits", "lm_head", at="ends")


def embedded(name, says, change, **more):
    """`change(op, right rows)`, [s, hidden]."""
    return embedding(name, says, embed=lambda op, ids: op.round(np.float32(change(op, Right.embed(op, ids)))), **more)


def looked_up(name, says, change, **more):
    """`change(ids, size of the vocabulary)` returns the ids that are looked up."""
    return embedding(
        name, says, embed=lambda op, ids: Right.embed(op, change(np.array(ids), len(op.head_matrix()))), **more
    )


def after(name, says, change, **more):
    """`change(op, right logits)`, [s, vocab]."""
    return logits(name, says, head=lambda op, x: op.round(change(op, Right.head(op, x))), **more)


def matrix(name, says, change, **more):
    """`change(op, right matrix)`, [vocab, hidden]."""
    return logits(name, says, head_matrix=lambda op: op.round(change(op, Right.head_matrix(op))), **more)


def sinusoids(rows):
    """The first Transformer's position embeddings, [s, hidden]."""
    s, hidden = rows.shape
    angles = np.outer(np.arange(s), 10000.0 ** (-np.arange(0, hidden, 2) / hidden))
    return np.float32(np.concatenate([np.sin(angles), np.cos(angles)], -1))


def top_k(x, k=50):
    """−∞ but for the k largest."""
    return np.where(x >= np.sort(x, -1)[:, -k, None], x, np.float32(-np.inf))


def penalised(op, x):
    """A repetition penalty of 1.1 on the first 64 tokens, as a sampler applies it."""
    penalty = np.where(np.arange(x.shape[1]) < 64, np.float32(1.1), np.float32(1))
    return np.where(x > 0, x / penalty, x * penalty)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


capped = lambda limit: lambda op, x: np.float32(limit) * np.tanh(x / np.float32(limit))
times = lambda value: lambda op, x: x * np.float32(value)

DEVIATIONS = [
    embedded(
        "by-root-hidden",
        "multiplies the embedding by √hidden_size, as Gemma does",
        lambda op, x: x * np.float32(x.shape[1] ** 0.5),
    ),
    embedded("multiplier-12", "multiplies the embedding by 12, as Granite does", times(12)),
    embedded(
        "normed",
        "normalises the embedding by the first layer's norm weight",
        lambda op, x: x / np.sqrt(np.mean(x * x, -1, keepdims=True)) * op.weight("input_layernorm", 0),
    ),
    embedded("positions-added", "adds sinusoidal position embeddings", lambda op, x: x + sinusoids(x)),
    embedded("bf16", "rounds the embedding to bf16", lambda op, x: bf16(x)),
    embedded(
        "int8", "rounds the embedding to 8-bit integers with one scale for each row", lambda op, x: integers(x, 8)
    ),
    embedded(
        "dropout",
        "applies dropout to the embedding",
        lambda op, x: np.where(np.random.default_rng(2).random(x.shape) < 0.1, 0, x / 0.9),
    ),
    embedded("first-zero", "leaves the first token's row zero", lambda op, x: x * (np.arange(len(x)) > 0)[:, None]),
    embedded("rows-reversed", "returns the rows in reverse order", lambda op, x: x[::-1]),
    looked_up("plus-one", "looks up the id after the token's", lambda ids, vocab: (ids + 1) % vocab),
    looked_up("minus-one", "looks up the id before the token's", lambda ids, vocab: (ids - 1) % vocab),
    looked_up("modulo-256", "looks up ids modulo 256", lambda ids, vocab: ids % 256),
    looked_up("previous", "looks up the token before", lambda ids, vocab: np.roll(ids, 1)),
    embedding(
        "column-major",
        "reads the embedding in column-major order",
        embed=lambda op, ids: column_major(op, op.end_weight("model.embed_tokens"))[ids],
    ),
    # Logits
    after("by-root-hidden", "divides the logits by √hidden_size", times(128**-0.5)),
    after("by-8", "divides the logits by 8, as Granite does", times(1 / 8)),
    after("temperature-0.7", "divides the logits by a temperature of 0.7", times(1 / 0.7)),
    after("negated", "negates the logits", times(-1)),
    after("softcap-30", "applies a softcap of 30", capped(30)),
    after("log-softmax", "returns log-probabilities", lambda op, x: log_softmax(x)),
    after("softmax", "returns probabilities", lambda op, x: np.exp(log_softmax(x))),
    after("minus-max", "subtracts the largest logit", lambda op, x: x - x.max(-1, keepdims=True)),
    after("bf16", "rounds the logits to bf16", lambda op, x: bf16(x)),
    after("f16", "rounds the logits to f16", lambda op, x: f16(x)),
    after("row-before", "returns the logits of the row before", lambda op, x: np.roll(x, 1, 0)),
    after("row-after", "returns the logits of the row after", lambda op, x: np.roll(x, -1, 0)),
    after("last-row", "returns the logits of the last row for every row", lambda op, x: np.repeat(x[-1:], len(x), 0)),
    after("top-50", "sets all but the 50 largest logits to −∞", lambda op, x: top_k(x)),
    after("penalty", "applies a repetition penalty of 1.1 to 64 tokens", penalised),
    logits(
        "un-normed",
        "computes the logits from the input of the last norm",
        head=lambda op, x: Right.head(op, op.seen["stream"]),
    ),
    logits(
        "normed-twice", "normalises once more before the logits", head=lambda op, x: Right.head(op, op.norm("norm", x))
    ),
    matrix(
        "other-matrix",
        "uses a matrix of another file as lm_head",
        lambda op, w: np.random.default_rng(1).normal(0, 0.05, w.shape).astype(np.float32),
    ),
    matrix("column-major", "reads lm_head in column-major order", column_major),
    matrix("rows-shifted", "has every row of lm_head one place late", lambda op, w: np.roll(w, 1, 0)),
    matrix(
        "halves-swapped", "has the two halves of the rows of lm_head swapped", lambda op, w: np.roll(w, len(w) // 2, 0)
    ),
    matrix("last-rows-zero", "has zeros in the last 64 rows of lm_head", zero(rows=slice(-64, None))),
    matrix("int8", "rounds lm_head to 8-bit integers with one scale for each row", lambda op, w: integers(w, 8)),
    matrix(
        "unit-rows",
        "scales every row of lm_head to unit length",
        lambda op, w: w / np.linalg.norm(w, axis=1, keepdims=True),
    ),
]
