"""Mistakes in the residual stream: what is added, how often, and in which order norms and sums come."""

import numpy as np

from port.dtypes import bf16, f16
from port.operations import Operations as Right

from .deviation import of

first = of("sum", "post_attention_layernorm.input")
second = of("sum", "")


def attention(name, says, change, **more):
    """`change(op, stream, branch)` after the attention."""
    return first(name, says, attention_sum=lambda op, x, branch: op.round(change(op, x, branch)), **more)


def mlp(name, says, change, **more):
    """`change(op, stream, branch)` after the feed-forward network."""
    return second(name, says, mlp_sum=lambda op, x, branch: op.round(change(op, x, branch)), **more)


def both(name, says, change, **more):
    """The same at both sums; the first is the first wrong one."""
    wrong = lambda op, x, branch: op.round(change(op, x, branch))
    return first(name, says, attention_sum=wrong, mlp_sum=wrong, **more)


def normed(op, which, x):
    """The branch or the sum behind a norm of the layer."""
    return op.norm(which, x)


FIRST, SECOND = "input_layernorm", "post_attention_layernorm"

DEVIATIONS = [
    # Residual and branch with other factors
    attention("attention-residual-missing", "does not add the residual after the attention", lambda op, x, o: o),
    mlp("mlp-residual-missing", "does not add the residual after the MLP", lambda op, x, o: o),
    both("residuals-missing", "adds no residual at all", lambda op, x, o: o),
    attention("attention-missing", "does not add the attention's output", lambda op, x, o: x),
    mlp("mlp-missing", "does not add the MLP's output", lambda op, x, o: x),
    attention("attention-residual-twice", "adds the residual twice after the attention", lambda op, x, o: x + x + o),
    mlp("mlp-residual-twice", "adds the residual twice after the MLP", lambda op, x, o: x + x + o),
    attention("attention-twice", "adds the attention's output twice", lambda op, x, o: x + o + o),
    mlp("mlp-twice", "adds the MLP's output twice", lambda op, x, o: x + o + o),
    mlp("mlp-halved", "adds half of the MLP's output", lambda op, x, o: x + o / 2),
    both("residual-halved", "adds half of the residual", lambda op, x, o: x / 2 + o),
    both("by-root-2", "divides both sums by √2", lambda op, x, o: (x + o) / np.float32(np.sqrt(2))),
    both("mean", "takes the mean instead of the sum", lambda op, x, o: (x + o) / 2),
    both(
        "multiplier-0.22",
        "multiplies both branches by 0.22, as Granite does",
        lambda op, x, o: x + np.float32(0.22) * o,
    ),
    attention("attention-subtracted", "subtracts the attention's output", lambda op, x, o: x - o),
    mlp("mlp-subtracted", "subtracts the MLP's output", lambda op, x, o: x - o),
    both("bf16", "adds up in bf16", lambda op, x, o: bf16(bf16(x) + bf16(o))),
    both("f16", "adds up in f16", lambda op, x, o: f16(f16(x) + f16(o))),
    # Another tensor in the sum
    attention(
        "attention-residual-normed",
        "adds the output of the norm as the residual after the attention",
        lambda op, x, o: op.seen[FIRST] + o,
    ),
    mlp(
        "mlp-residual-normed",
        "adds the output of the second norm as the residual after the MLP",
        lambda op, x, o: op.seen[SECOND] + o,
    ),
    mlp(
        "mlp-residual-of-input",
        "adds the layer's input as the residual after the MLP, so the attention is lost",
        lambda op, x, o: op.seen["input"] + o,
    ),
    mlp(
        "mlp-residual-of-attention",
        "adds the attention's output as the residual after the MLP, without the stream",
        lambda op, x, o: op.seen["self_attn.o_proj"] + o,
    ),
    mlp("mlp-input-added", "adds the layer's input once more after the MLP", lambda op, x, o: x + op.seen["input"] + o),
    mlp(
        "mlp-attention-added",
        "adds the attention's output once more after the MLP",
        lambda op, x, o: x + op.seen["self_attn.o_proj"] + o,
    ),
    attention(
        "attention-previous-row", "adds the attention's output of the row before", lambda op, x, o: x + np.roll(o, 1, 0)
    ),
    # Norms and sums in another order
    attention(
        "post-norm-attention",
        "normalises the sum after the attention, as the first Transformer did",
        lambda op, x, o: op.norm(FIRST, op.round(x + o)),
    ),
    mlp("post-norm-mlp", "normalises the sum after the MLP", lambda op, x, o: op.norm(SECOND, op.round(x + o))),
    attention(
        "sandwich-attention",
        "normalises the attention's output before it is added",
        lambda op, x, o: x + op.norm(FIRST, o),
    ),
    mlp("sandwich-mlp", "normalises the MLP's output before it is added", lambda op, x, o: x + op.norm(SECOND, o)),
    first(
        "parallel",
        "computes attention and MLP from the same input, and adds both at the end",
        attention_sum=lambda op, x, o: x,
        mlp_sum=lambda op, x, o: op.round(op.round(x + op.seen["self_attn.o_proj"]) + o),
    ),
    of("sum", SECOND)(
        "parallel-one-norm",
        "computes the MLP from the first norm's output, in parallel with the attention",
        norm=lambda op, which, x: op.seen[FIRST] if which == SECOND else Right.norm(op, which, x),
    ),
]
