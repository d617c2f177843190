"""Mistakes in RMSNorm: the statistic, ε, the weight, and what is normalised."""

import numpy as np

from port.dtypes import bf16, f16, integers
from port.operations import Operations as Right

from .deviation import of

norm = of("norm", "input_layernorm")
post = of("norm", "post_attention_layernorm")
final = of("norm", "model.norm", at="ends")


def over(size):
    """A norm over each run of `size` channels. The weight is applied as usual."""

    def normed(op, which, x):
        parts = x.reshape(len(x), -1, size)
        parts = parts / np.sqrt(np.mean(parts * parts, -1, keepdims=True) + np.float32(op.eps))
        return op.round(op.norm_weight(which) * op.round(parts.reshape(x.shape)))

    return normed


def centred(op, which, x):
    """LayerNorm without a bias."""
    x = x - x.mean(-1, keepdims=True)
    return op.round(op.norm_weight(which) * op.round(x / op.divisor(x)))


def weight_of(change):
    """The weight as changed by `change(op, weight)`."""
    return lambda op, which: op.round(change(op, Right.norm_weight(op, which)))


def other_norm(op, which):
    """The weight of the layer's other norm; at the end, of the last layer's second norm."""
    names = ["input_layernorm", "post_attention_layernorm"]
    if op.layer is None:
        return op.weight(names[1], op.config.layers - 1)
    return op.weight(names[which == names[0]])


def next_layer(op, which):
    """The weight of the same norm in the next layer. The last norm is right."""
    return Right.norm_weight(op, which) if op.layer is None else op.weight(which, (op.layer + 1) % op.config.layers)


def for_norm(name, **changes):
    """Changes that only apply to the norm `name`: method → replacement, whose first argument is the norm."""
    ((method, change),) = changes.items()
    right = getattr(Right, method)
    return {method: lambda op, which, *x: (change if which == name else right)(op, which, *x)}


square = lambda x: x * x
mean = lambda x: np.mean(x, -1, keepdims=True)
skip = lambda op, which, x: x

DEVIATIONS = [
    # ε
    norm("eps-1e-5", "uses ε = 1e-5", eps=1e-5),
    norm("eps-1e-6", "uses ε = 1e-6", eps=1e-6),
    norm("eps-1e-8", "uses ε = 1e-8", eps=1e-8),
    norm("eps-1e-3", "uses ε = 1e-3", eps=1e-3),
    norm("eps-twice", "adds ε twice, so it is 6e-5", eps=6e-5),
    norm("eps-missing", "uses no ε", label="ε has no effect", eps=0.0),
    norm(
        "eps-as-minimum",
        "uses ε as the minimum of the mean square",
        label="ε has no effect",
        divisor=lambda op, x: np.sqrt(np.maximum(op.statistic(x), np.float32(op.eps))),
    ),
    norm(
        "eps-outside-root",
        "adds ε outside the root",
        divisor=lambda op, x: np.sqrt(op.statistic(x)) + np.float32(op.eps),
    ),
    norm(
        "eps-on-sum",
        "adds ε to the sum of squares, before the division by their number",
        divisor=lambda op, x: np.sqrt(op.statistic(x) + np.float32(op.eps / x.shape[-1])),
    ),
    post(
        "post-eps-1e-6",
        "uses ε = 1e-6 in the second norm of a layer",
        **for_norm(
            "post_attention_layernorm",
            norm=lambda op, which, x: op.round(
                op.norm_weight(which) * op.round(x / np.sqrt(op.statistic(x) + np.float32(1e-6)))
            ),
        ),
    ),
    # The statistic
    norm("mean-abs", "divides by the mean of |x|", statistic=lambda op, x: square(mean(np.abs(x)))),
    norm("max-abs", "divides by the largest |x|", statistic=lambda op, x: square(np.abs(x).max(-1, keepdims=True))),
    norm(
        "sum",
        "divides by the root of the sum of squares, not of their mean",
        statistic=lambda op, x: np.sum(square(x), -1, keepdims=True),
    ),
    norm(
        "l2-normalize",
        "divides by the L2 norm without ε",
        divisor=lambda op, x: np.linalg.norm(x, axis=-1, keepdims=True),
    ),
    norm("centred", "subtracts the mean, as LayerNorm does", norm=centred),
    norm(
        "standard-deviation",
        "divides by the standard deviation without subtracting the mean",
        statistic=lambda op, x: np.var(x, -1, keepdims=True),
    ),
    norm(
        "variance-n-minus-1",
        "divides by the sample standard deviation (torch.var) without subtracting the mean",
        statistic=lambda op, x: np.var(x, -1, ddof=1, keepdims=True),
    ),
    norm(
        "n-minus-1",
        "divides the sum of squares by n − 1",
        statistic=lambda op, x: np.sum(square(x), -1, keepdims=True) / np.float32(x.shape[-1] - 1),
    ),
    norm(
        "root-missing",
        "divides by the mean square, without a root",
        divisor=lambda op, x: op.statistic(x) + np.float32(op.eps),
    ),
    norm(
        "inverted",
        "multiplies by the root of the mean square",
        norm=lambda op, which, x: op.round(op.norm_weight(which) * op.round(x * op.divisor(x))),
    ),
    norm(
        "first-half",
        "takes the mean square over the first half of the channels",
        statistic=lambda op, x: mean(square(x[:, : x.shape[1] // 2])),
    ),
    norm(
        "each-half",
        "normalises each half of the channels on its own",
        norm=lambda op, which, x: over(op.config.hidden // 2)(op, which, x),
    ),
    norm(
        "each-head",
        "normalises each run of head_dim channels on its own",
        norm=lambda op, which, x: over(op.config.head_dim)(op, which, x),
    ),
    norm(
        "whole-tensor",
        "takes the mean square over all positions at once",
        statistic=lambda op, x: square(x).mean(keepdims=True),
    ),
    norm(
        "over-positions",
        "takes the mean square over the positions of each channel",
        statistic=lambda op, x: square(x).mean(0, keepdims=True),
    ),
    norm(
        "previous-row",
        "divides each position by the statistic of the position before it",
        statistic=lambda op, x: np.roll(mean(square(x)), 1, 0),
    ),
    norm(
        "first-row", "divides all positions by the statistic of the first", statistic=lambda op, x: mean(square(x[:1]))
    ),
    norm("squares-bf16", "sums the squares in bf16", statistic=lambda op, x: bf16(mean(bf16(square(x))))),
    norm("squares-f16", "sums the squares in f16", statistic=lambda op, x: f16(mean(f16(square(x))))),
    # The weight
    norm("plus-one", "multiplies by 1 + w", norm_weight=weight_of(lambda op, w: 1 + w)),
    norm("minus-one", "multiplies by w − 1", norm_weight=weight_of(lambda op, w: w - 1)),
    norm("weight-missing", "does not multiply by the weight", norm_weight=weight_of(lambda op, w: np.ones_like(w))),
    norm("weight-squared", "multiplies by the weight twice", norm_weight=weight_of(lambda op, w: w * w)),
    norm("weight-int8", "uses weights rounded to 8-bit integers", norm_weight=weight_of(lambda op, w: integers(w, 8))),
    norm("weight-other", "uses the weight of the layer's other norm", norm_weight=other_norm),
    norm("weight-next-layer", "uses the weight of the next layer's norm", norm_weight=next_layer),
    norm(
        "weight-final",
        "uses the weight of the last norm of the model",
        norm_weight=lambda op, which: op.end_weight("model.norm"),
    ),
    norm(
        "weight-first",
        "multiplies by the weight before normalising",
        norm=lambda op, which, x: op.round((y := op.norm_weight(which) * x) / op.divisor(y)),
    ),
    post(
        "post-weight-other",
        "uses the weight of the first norm in the second",
        **for_norm("post_attention_layernorm", norm_weight=other_norm),
    ),
    # The whole norm
    norm(
        "twice",
        "normalises twice, with the weight each time",
        norm=lambda op, which, x: Right.norm(op, which, Right.norm(op, which, x)),
    ),
    norm("skipped", "does not normalise at all", norm=skip),
    norm(
        "weight-only",
        "multiplies by the weight without normalising",
        norm=lambda op, which, x: op.round(op.norm_weight(which) * x),
    ),
    norm(
        "halved",
        "multiplies the result by 0.5",
        norm=lambda op, which, x: op.round(Right.norm(op, which, x) * np.float32(0.5)),
    ),
    norm("clipped", "clips the result to ±2", norm=lambda op, which, x: np.clip(Right.norm(op, which, x), -2, 2)),
    post(
        "post-skipped", "does not apply the second norm of a layer", **for_norm("post_attention_layernorm", norm=skip)
    ),
    final("final-skipped", "does not apply the last norm of the model", norm=skip),
    final(
        "final-weight-other", "uses the weight of the last layer's second norm in the last norm", norm_weight=other_norm
    ),
    final(
        "final-twice",
        "applies the last norm of the model twice",
        norm=lambda op, which, x: Right.norm(op, which, Right.norm(op, which, x)),
    ),
]
