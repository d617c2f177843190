"""Mistakes in which matrix a projection multiplies by: another one, or its rows and columns in another order."""

import numpy as np

from port.operations import Operations as Right

from .deviation import of

linear = of("linear", "self_attn.q_proj")
MLP = {"gate_proj", "up_proj", "down_proj"}


def site(which):
    """The site of a projection's output."""
    return f"mlp.{which}" if which in MLP else f"self_attn.{which}"


def matrix(name, which, says, change, **more):
    """A deviation of the matrix `which`: `change(op, right matrix)` is used instead."""
    changed = lambda op, asked: change(op, Right.matrix(op, asked)) if asked == which else Right.matrix(op, asked)
    return linear(name, says, site=site(which), matrix=changed, **more)


def of_layer(step, *names):
    """The matrices `names` of the layer `step` layers later; layers are counted in a circle."""

    def changed(op, which):
        if which not in names:
            return Right.matrix(op, which)
        return op.weight(site(which), (op.layer + step) % op.config.layers)

    return changed


def exchanged(**other):
    """`other` maps a projection to the projection whose matrix it uses."""
    return lambda op, which: Right.matrix(op, other.get(which, which))


def in_heads(change):
    """Reorders rows: `change` maps [heads, head_dim, in] to the same size."""
    return lambda op, w: change(w.reshape(-1, op.config.head_dim, w.shape[1])).reshape(w.shape)


def both(change):
    """The same change of the matrices of q and k."""

    def changed(op, which):
        w = Right.matrix(op, which)
        return change(op, w) if which in ("q_proj", "k_proj") else w

    return changed


def column_major(op, w):
    """The file's bytes read as [in, out] in column-major order: a reshape where a transpose belongs."""
    return w.reshape(w.shape[::-1]).T


# [heads, head_dim, in]: halves to neighbours, as llama.cpp's converter permutes, and the reverse.
to_neighbours = in_heads(lambda w: w.reshape(len(w), 2, -1, w.shape[2]).swapaxes(1, 2))
to_halves = in_heads(lambda w: w.reshape(len(w), -1, 2, w.shape[2]).swapaxes(1, 2))


def fused(rows, *names):
    """Splits a fused matrix at wrong rows. `rows(op, row numbers of the fused matrix)` gives the rows of each
    projection in `names`, which are stacked in this order in the file."""

    def changed(op, which):
        if which not in names:
            return Right.matrix(op, which)
        stacked = np.concatenate([Right.matrix(op, name) for name in names])
        return stacked[dict(zip(names, rows(op, np.arange(len(stacked)))))[which]]

    return changed


def grouped(op, rows):
    """q, k and v as if stored group by group: the queries of a group, then its key, then its value."""
    groups = rows.reshape(op.config.kv_heads, op.config.group + 2, op.config.head_dim)
    return groups[:, :-2].ravel(), groups[:, -2].ravel(), groups[:, -1].ravel()


QKV, GATE_UP = ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")
every_second = lambda op, rows: (rows[0::2], rows[1::2])
riffled = lambda op, rows: np.split(rows.reshape(2, -1).T.ravel(), 2)
halves_swapped = lambda w, axis: np.roll(w, w.shape[axis] // 2, axis)
square = {"model": "tiny-llama2"}

DEVIATIONS = [
    # Another matrix of the file
    linear("q-of-next-layer", "uses the q_proj of the next layer", matrix=of_layer(1, "q_proj")),
    linear("o-of-next-layer", "uses the o_proj of the next layer", site=site("o_proj"), matrix=of_layer(1, "o_proj")),
    linear(
        "down-of-layer-before",
        "uses the down_proj of the layer before",
        site=site("down_proj"),
        matrix=of_layer(-1, "down_proj"),
    ),
    linear(
        "gate-up-of-next-layer",
        "uses gate_proj and up_proj of the next layer",
        site=site("gate_proj"),
        matrix=of_layer(1, "gate_proj", "up_proj"),
    ),
    linear(
        "attention-of-next-layer",
        "uses the four attention matrices of the next layer",
        matrix=of_layer(1, *QKV, "o_proj"),
    ),
    linear("all-of-next-layer", "uses all seven matrices of the next layer", matrix=of_layer(1, *QKV, "o_proj", *MLP)),
    linear(
        "k-v-exchanged",
        "uses k_proj for v and v_proj for k",
        site=site("k_proj"),
        matrix=exchanged(k_proj="v_proj", v_proj="k_proj"),
    ),
    linear("k-for-v", "uses k_proj for k and for v", site=site("v_proj"), matrix=exchanged(v_proj="k_proj")),
    linear("v-for-k", "uses v_proj for k and for v", site=site("k_proj"), matrix=exchanged(k_proj="v_proj")),
    linear(
        "gate-up-exchanged",
        "uses gate_proj for up and up_proj for gate",
        site=site("gate_proj"),
        label="gate and up swapped",
        matrix=exchanged(gate_proj="up_proj", up_proj="gate_proj"),
    ),
    linear(
        "gate-for-up", "uses gate_proj for gate and for up", site=site("up_proj"), matrix=exchanged(up_proj="gate_proj")
    ),
    matrix(
        "k-from-q",
        "k_proj",
        "uses the first rows of q_proj as k_proj",
        lambda op, w: Right.matrix(op, "q_proj")[: len(w)],
    ),
    # A fused matrix, split at the wrong rows
    linear(
        "qkv-by-groups", "splits a fused q, k, v matrix as if it was stored group by group", matrix=fused(grouped, *QKV)
    ),
    linear(
        "gate-up-alternating",
        "takes every other row of a fused gate and up matrix, which stores all of gate first",
        site=site("gate_proj"),
        matrix=fused(every_second, *GATE_UP),
    ),
    linear(
        "gate-up-halves",
        "splits a fused matrix of alternating gate and up rows into halves",
        site=site("gate_proj"),
        matrix=fused(riffled, *GATE_UP),
    ),
    linear(
        "up-gate",
        "splits a fused gate and up matrix as if up came first",
        site=site("gate_proj"),
        label="gate and up swapped",
        matrix=fused(lambda op, rows: np.split(rows, 2)[::-1], *GATE_UP),
    ),
    # Rows and columns in another order
    linear(
        "qk-to-neighbours",
        "permutes the rows of q and k for interleaved rotation, and rotates halves",
        matrix=both(to_neighbours),
    ),
    linear(
        "qk-to-halves",
        "permutes the rows of q and k from interleaved order, although they are in halves",
        matrix=both(to_halves),
    ),
    matrix(
        "k-to-neighbours",
        "k_proj",
        "permutes the rows of k for interleaved rotation, and rotates halves",
        to_neighbours,
    ),
    matrix(
        "q-heads-tiled",
        "q_proj",
        "orders query heads by their place in the group first",
        lambda op, w: in_heads(lambda h: h.reshape(op.config.kv_heads, -1, *h.shape[1:]).swapaxes(0, 1))(op, w),
    ),
    matrix("q-rows-reversed", "q_proj", "has the rows of q_proj in reverse order", lambda op, w: w[::-1]),
    matrix(
        "v-heads-swapped",
        "v_proj",
        "has the two halves of the rows of v_proj swapped",
        lambda op, w: halves_swapped(w, 0),
    ),
    matrix("gate-rows-reversed", "gate_proj", "has the rows of gate_proj in reverse order", lambda op, w: w[::-1]),
    matrix("up-rows-shifted", "up_proj", "has every row of up_proj one place late", lambda op, w: np.roll(w, 1, 0)),
    matrix(
        "down-columns-reversed", "down_proj", "has the columns of down_proj in reverse order", lambda op, w: w[:, ::-1]
    ),
    matrix(
        "down-halves-swapped",
        "down_proj",
        "has the two halves of the columns of down_proj swapped",
        lambda op, w: halves_swapped(w, 1),
    ),
    matrix(
        "o-columns-by-dim",
        "o_proj",
        "has the columns of o_proj ordered by dimension first, then by head",
        lambda op, w: w.reshape(len(w), op.config.heads, -1).swapaxes(1, 2).reshape(w.shape),
    ),
    matrix(
        "o-heads-reversed",
        "o_proj",
        "has the heads in the columns of o_proj in reverse order",
        lambda op, w: w.reshape(len(w), op.config.heads, -1)[:, ::-1].reshape(w.shape),
    ),
    # Transposed, or read as if it was
    matrix("gate-column-major", "gate_proj", "reads gate_proj in column-major order", column_major),
    matrix("q-column-major", "q_proj", "reads q_proj in column-major order", column_major),
    matrix("down-column-major", "down_proj", "reads down_proj in column-major order", column_major),
    matrix("q-transposed", "q_proj", "does not transpose q_proj", lambda op, w: w.T, **square),
    matrix("v-transposed", "v_proj", "does not transpose v_proj", lambda op, w: w.T, **square),
    matrix("o-transposed", "o_proj", "does not transpose o_proj", lambda op, w: w.T, **square),
]
