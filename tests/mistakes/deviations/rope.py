"""Mistakes in the rotary embedding: positions, frequencies, pairs, direction, and what is rotated."""

import numpy as np

from port.dtypes import bf16, f16
from port.operations import Operations as Right

from .deviation import of

rope = of("rope", "self_attn.q_rope")
key = of("rope", "self_attn.k_rope")


def positions(change, only="qk"):
    """Positions as changed by `change(positions)`, for q, k or both."""
    return lambda op, which, s: (change if which in only else lambda p: p)(Right.positions(op, which, s))


def frequencies(change):
    """Frequencies as changed by `change(frequencies, i, d)`, where i = 0, 1, … numbers the pairs of d elements."""

    def changed(op):
        d = op.config.head_dim
        return np.float32(change(Right.frequencies(op).astype(np.float64), np.arange(d // 2), d))

    return changed


def power(exponent):
    """Frequencies θ^−exponent(i, d)."""
    return lambda op: np.float32(op.theta ** -exponent(np.arange(op.config.head_dim // 2), op.config.head_dim))


def only(kind, change):
    """`change(op, kind, x)` instead of the rotation of q or k."""
    return lambda op, which, x: (change if which == kind else Right.rope)(op, which, x)


def some_heads(which_heads):
    """Leaves these heads as they are."""

    def rope(op, which, x):
        turned = Right.rope(op, which, x).copy()
        turned[which_heads(len(x))] = x[which_heads(len(x))]
        return turned

    return rope


def partial(op, which, x, of_part=True):
    """Rotates the first half of each head; its frequencies are those of a head of that size, or of the whole."""
    d = x.shape[-1] // 2
    exponents = np.arange(0, d, 2) / (d if of_part else 2 * d)
    angles = np.outer(op.positions(which, x.shape[1]), np.float32(op.theta**-exponents))
    return np.concatenate([op.turn(x[..., :d], *op.tables(angles)), x[..., d:]], -1)


def llama3(frequency, i, d, factor=8, low=1, high=4, context=64):
    """The scaling of Llama 3.1, with a context short enough to matter for tiny-llama."""
    wavelength = 2 * np.pi / frequency
    smooth = np.clip((context / wavelength - low) / (high - low), 0, 1)
    return (1 - smooth) * frequency / factor + smooth * frequency


def tables_of_a_repeated_pair(op, which, x):
    """Each angle is used for two neighbouring elements, but elements half a head apart are rotated."""
    cos, sin = (np.repeat(t, 2, -1) for t in op.tables(op.angles(which, x.shape[1])))  # [s, head_dim]
    a, b = np.split(x, 2, -1)
    return op.round(op.round(x * cos) + op.round(np.concatenate([-b, a], -1) * sin))


def tables_of_two_halves(op, which, x):
    """The angles are those of halves, but neighbouring elements are rotated."""
    cos, sin = (np.concatenate([t, t], -1) for t in op.tables(op.angles(which, x.shape[1])))  # [s, head_dim]
    turned = np.stack([-x[..., 1::2], x[..., 0::2]], -1).reshape(x.shape)
    return op.round(op.round(x * cos) + op.round(turned * sin))


interleaved = {
    "pairs": lambda op, x: (x[..., 0::2], x[..., 1::2]),
    "join": lambda op, a, b: np.stack([a, b], -1).reshape(*a.shape[:-1], -1),
}
keep = lambda op, which, x: x
theta = lambda value: rope(f"theta-{value:g}", f"uses θ = {value:g}", theta=value)
rounded = lambda to: lambda op, angles: (to(np.cos(angles)), to(np.sin(angles)))

DEVIATIONS = [
    # Positions
    rope("position-plus-1", "counts positions from 1", positions=positions(lambda p: p + 1)),
    rope("position-minus-1", "counts positions from −1", positions=positions(lambda p: p - 1)),
    rope("position-plus-7", "counts positions from 7", positions=positions(lambda p: p + 7)),
    rope("position-zero", "rotates every row by position 0", label="no rotation", positions=positions(lambda p: 0 * p)),
    rope("positions-reversed", "counts positions from the end", positions=positions(lambda p: p[::-1])),
    rope("positions-halved", "divides positions by 2", label="angles / 2", positions=positions(lambda p: p / 2)),
    rope("positions-doubled", "multiplies positions by 2", label="angles × 2", positions=positions(lambda p: p * 2)),
    rope("positions-clipped", "clips positions to 5", positions=positions(lambda p: np.minimum(p, 5))),
    rope("positions-modulo", "counts positions modulo 4", positions=positions(lambda p: p % 4)),
    rope("position-of-last", "rotates every row by the last position", positions=positions(lambda p: 0 * p + p[-1])),
    rope(
        "position-by-head",
        "rotates by the number of the head instead of the position",
        rope=lambda op, which, x: op.turn(x, *(t[:, None] for t in op.tables(op.angles(which, len(x))))),
    ),
    rope(
        "q-position-plus-1",
        "rotates queries by the position after theirs",
        positions=positions(lambda p: p + 1, only="q"),
    ),
    key(
        "k-position-plus-1", "rotates keys by the position after theirs", positions=positions(lambda p: p + 1, only="k")
    ),
    key(
        "k-position-zero",
        "rotates every key by position 0",
        label="keys not rotated",
        positions=positions(lambda p: 0 * p, only="k"),
    ),
    # Frequencies
    *map(theta, [1e4, 1e5, 5e5, 1e6, 29000.0]),
    rope(
        "linear-4",
        "divides the frequencies by 4, as linear scaling does",
        frequencies=frequencies(lambda f, i, d: f / 4),
    ),
    rope(
        "linear-2", "divides the frequencies by 2", label="angles / 2", frequencies=frequencies(lambda f, i, d: f / 2)
    ),
    rope(
        "ntk-4",
        "multiplies θ by 4^(d / (d − 2)), as NTK scaling does",
        frequencies=frequencies(lambda f, i, d: f * 4.0 ** (-2 * i / (d - 2))),
    ),
    rope(
        "llama3", "scales the frequencies as Llama 3.1 does, by 8 from a context of 64", frequencies=frequencies(llama3)
    ),
    rope("exponent-i", "uses the exponent i / d instead of 2i / d", frequencies=power(lambda i, d: i / d)),
    rope("exponent-4i", "uses the exponent 4i / d instead of 2i / d", frequencies=power(lambda i, d: 4 * i / d)),
    rope(
        "exponent-hidden",
        "divides the exponent by hidden_size instead of head_dim",
        frequencies=lambda op: np.float32(op.theta ** -(np.arange(0, op.config.head_dim, 2) / op.config.hidden)),
    ),
    rope(
        "exponent-d-minus-2",
        "divides the exponent by d − 2, so the last pair turns by 1 / θ",
        frequencies=power(lambda i, d: 2 * i / (d - 2)),
    ),
    rope(
        "one-pair-late",
        "uses for each pair the frequency of the pair after it",
        frequencies=power(lambda i, d: 2 * (i + 1) / d),
    ),
    rope(
        "one-pair-early",
        "uses for each pair the frequency of the pair before it",
        frequencies=power(lambda i, d: 2 * (i - 1) / d),
    ),
    rope("half-pair-late", "uses the exponent (2i + 1) / d", frequencies=power(lambda i, d: (2 * i + 1) / d)),
    rope(
        "frequencies-reversed",
        "assigns the frequencies to the pairs in reverse order",
        frequencies=frequencies(lambda f, i, d: f[::-1]),
    ),
    rope(
        "frequencies-linear",
        "uses frequencies that fall linearly",
        frequencies=frequencies(lambda f, i, d: 1 - 2 * i / d),
    ),
    rope("frequencies-bf16", "rounds the frequencies to bf16", frequencies=lambda op: bf16(Right.frequencies(op))),
    rope("frequencies-f16", "rounds the frequencies to f16", frequencies=lambda op: f16(Right.frequencies(op))),
    rope("tables-bf16", "rounds cosines and sines to bf16", tables=rounded(bf16)),
    rope("angles-bf16", "rounds the angles to bf16", angles=lambda op, which, s: bf16(Right.angles(op, which, s))),
    # Pairs and direction
    rope("interleaved", "rotates neighbouring elements as pairs", **interleaved),
    rope("interleaved-in", "takes pairs of neighbours and writes them as halves", pairs=interleaved["pairs"]),
    rope("interleaved-out", "takes pairs from two halves and writes them as neighbours", join=interleaved["join"]),
    rope(
        "repeated-tables",
        "uses each angle for two neighbours, but rotates elements half a head apart",
        rope=tables_of_a_repeated_pair,
    ),
    rope("halved-tables", "uses the angles of halves, but rotates neighbouring elements", rope=tables_of_two_halves),
    rope(
        "mirrored-pairs",
        "pairs element i with element d − 1 − i",
        pairs=lambda op, x: (x[..., : x.shape[-1] // 2], x[..., : x.shape[-1] // 2 - 1 : -1]),
        join=lambda op, a, b: np.concatenate([a, b[..., ::-1]], -1),
    ),
    rope("reversed", "rotates in the other direction", tables=lambda op, angles: Right.tables(op, -angles)),
    rope(
        "sin-cos-swapped",
        "uses the sine for the cosine and the reverse",
        tables=lambda op, angles: Right.tables(op, angles)[::-1],
    ),
    rope(
        "sign-missing",
        "adds both products, without the minus sign",
        turn=lambda op, x, cos, sin: op.round(
            op.round(x * np.tile(cos, 2)) + op.round(np.roll(x, x.shape[-1] // 2, -1) * np.tile(sin, 2))
        ),
    ),
    rope(
        "partial-of-part",
        "rotates the first half of each head, with the frequencies of a head of that size",
        rope=partial,
    ),
    rope(
        "partial-of-whole",
        "rotates the first half of each head, with the first frequencies",
        rope=lambda op, which, x: partial(op, which, x, of_part=False),
    ),
    rope(
        "magnitude-1.1",
        "multiplies cosines and sines by 1.1",
        tables=lambda op, angles: tuple(op.round(t * np.float32(1.1)) for t in Right.tables(op, angles)),
    ),
    # What is rotated
    rope("skipped", "rotates neither queries nor keys", label="no rotation", rope=keep),
    rope("q-skipped", "does not rotate queries", rope=only("q", keep)),
    key("k-skipped", "does not rotate keys", label="keys not rotated", rope=only("k", keep)),
    rope(
        "twice",
        "rotates twice",
        label="angles × 2",
        rope=lambda op, which, x: Right.rope(op, which, Right.rope(op, which, x)),
    ),
    key(
        "k-twice",
        "rotates keys twice",
        rope=only("k", lambda op, which, x: Right.rope(op, which, Right.rope(op, which, x))),
    ),
    key(
        "k-reversed",
        "rotates keys in the other direction",
        rope=only("k", lambda op, which, x: op.turn(x, *op.tables(-op.angles(which, x.shape[1])))),
    ),
    rope(
        "one-head-skipped", "does not rotate the last head of queries and of keys", rope=some_heads(lambda n: [n - 1])
    ),
    rope(
        "as-many-as-kv",
        "rotates only as many query heads as there are key heads",
        rope=only("q", lambda op, which, x: some_heads(lambda n: list(range(op.config.kv_heads, n)))(op, which, x)),
    ),
]
