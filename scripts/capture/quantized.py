"""What do quantised kernels compute, and how far may they differ?

A kernel for blocks of weights rounds its activations to 8 bits first, in blocks of 32 or of 256. That is
another arithmetic, not noise around the plain one: it has a truth of its own (activations rounded as the
kernel does it, everything else in float64), and noise around that truth.

    32     a scale a block, amax / 127, kept as f16 (ggml's q8_0 and q8_1)
    256    a scale a block, kept as f32 (q8_K): K types always; Q8_0 where the processor has VNNI, the row is
           a multiple of 256 and the output one of 16

For weights with a minimum (Q4_1, Q5_1) the sum of a block's activations is rounded to f16 before it is
multiplied with that. Two details differ between honest kernels, and are measured as noise: how a value half-way
between two steps is rounded, and how that sum is.

A value that lies at such a half-way point falls to the other side for the smallest error before it, and then
moves by a whole step. An honest f32 run has a few such flips, too few for eight runs to meet the same ones: so
where truth does not enter at every site, activations are shaken by what f32 leaves uncertain.
"""

import numpy as np
import torch
from gguf import GGUFReader, GGMLQuantizationType as Type

from .arithmetic import Stock
from .files import Trouble, round_to_40_bits
from .names import gguf_name

PLAIN = {Type.F32, Type.F16, Type.BF16}
WITH_MINIMUM = {Type.Q4_1: 20, Type.Q5_1: 24}  # bytes of a block; its minimum is the second f16
K_TYPES = {Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K}
KNOWN = {Type.Q4_0, Type.Q5_0, Type.Q8_0, *WITH_MINIMUM, *K_TYPES}


class Blocks:
    """How each matrix of a GGUF file is stored, by its Hugging Face name."""

    def __init__(self, model):
        stored = {tensor.name: tensor for tensor in GGUFReader(model.path).tensors}
        self.type, self.minimum = {}, {}
        for name, weight in model.stock.named_parameters():
            tensor = stored[gguf_name(name)]
            self.type[name] = tensor.tensor_type
            if weight.dim() == 2 and tensor.tensor_type not in PLAIN | KNOWN:
                raise Trouble(f"{name} is stored as {tensor.tensor_type.name}", "its kernel's rounding is not known here")
            if tensor.tensor_type in WITH_MINIMUM:
                self.minimum[name] = _rows_as_hugging_face(model, name, _minima(tensor))
        self.wide = {name for name, weight in model.stock.named_parameters() if self._may_be_wide(name, weight)}

    @property
    def is_quantized(self):
        return any(kind not in PLAIN for kind in self.type.values())

    def _may_be_wide(self, name, weight):
        return self.type[name] is Type.Q8_0 and weight.shape[1] % 256 == 0 and weight.shape[0] % 16 == 0

    def widths(self):
        """Under which of the two names there is something to capture."""
        return ("32", "256") if self.wide else ("32",)

    def width(self, name, arithmetic):
        """The block that activations meet at this matrix; None where it is not quantised."""
        if self.type[name] in PLAIN:
            return None
        return 256 if self.type[name] in K_TYPES or (arithmetic == "256" and name in self.wide) else 32


def _minima(tensor):
    """[rows, blocks] float32"""
    size = WITH_MINIMUM[tensor.tensor_type]
    blocks = tensor.data.reshape(tensor.data.shape[0], -1, size)
    return torch.from_numpy(np.ascontiguousarray(blocks[..., 2:4]).view(np.float16)[..., 0].astype(np.float32))


def _rows_as_hugging_face(model, name, rows):
    """Undoes the permutation of q and k: neighbours back to halves."""
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    n = heads.get(name.split(".")[-2])
    if n is None:
        return rows
    count, width = rows.shape
    return rows.reshape(n, count // n // 2, 2, width).swapaxes(1, 2).reshape(count, width)


def _half_away(v):
    """Ties away from zero, as Rust's and C's `round`."""
    v = v.double()
    return torch.trunc(v + torch.copysign(torch.tensor(0.5, dtype=torch.float64), v))


class Recipe:
    """The details in which honest kernels differ."""

    def __init__(self, reciprocal, tie, sum_of):
        self.reciprocal, self.tie, self.sum_of = reciprocal, tie, sum_of


# ggml's portable code, which Candle follows; and ggml's own for AVX.
PORTABLE = Recipe(lambda amax: 1 / (amax / 127), _half_away, lambda total, scale: total.half() * scale.half())
VECTOR = Recipe(lambda amax: 127 / amax, torch.round, lambda total, scale: (total.float() * scale).half())


def rounded(x, width, recipe):
    """[..., k] -> the values that the kernel goes on with, and each block's sum as it is rounded; in float64."""
    blocks = x.float().unflatten(-1, (-1, width))  # [..., blocks, width], float32 as the kernel is given it
    amax = blocks.abs().amax(-1, keepdim=True)
    safe = torch.where(amax == 0, 1.0, amax)
    if width == 32:
        scale = amax / 127
        steps = recipe.tie(blocks * recipe.reciprocal(safe))
        kept = scale.half().double()
    else:
        largest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
        inverse = -127 / torch.where(amax == 0, 1.0, largest)
        steps = recipe.tie(inverse * blocks).clamp(-128, 127)
        kept = (1 / inverse).double()
    steps = torch.where(amax == 0, 0.0, steps.double())
    sums = recipe.sum_of(steps.sum(-1), (amax / 127)[..., 0]).double()
    return (steps * kept).flatten(-2), sums


class Rounded(Stock):
    """Another order's sums, over activations rounded as a quantised kernel rounds them."""

    def __init__(self, order, model, dtype, arithmetic, recipe=PORTABLE, shake=None):
        self.name, self.order = f"{order.name}, activations in blocks of {arithmetic}", order
        self.mean, self.softmax, self.matmul, self.attention = order.mean, order.softmax, order.matmul, order.attention
        self.blocks, self.arithmetic, self.recipe, self.shake = model.blocks, arithmetic, recipe, shake
        # Blocks are not rounded to a half dtype when the model is: the kernel reads them as they are.
        stock = dict(model.stock.named_parameters())
        self.named = {id(weight): (name, weight if dtype == "f64" else stock[name])
                      for name, weight in model.at(dtype).named_parameters()}

    def linear(self, x, weight):
        name, exact = self.named[id(weight)]
        width = self.blocks.width(name, self.arithmetic)
        if width is None:
            return self.order.linear(x, weight)
        given = x if self.shake is None else x + self._uncertainty(x)
        values, sums = rounded(given, width, self.recipe)
        y = self.order.linear(values.to(exact.dtype), exact)
        if name in self.blocks.minimum:
            off = sums - values.unflatten(-1, (-1, width)).sum(-1)  # [..., blocks]
            y = y + (off @ self.blocks.minimum[name].double().t()).to(y.dtype)
        return y.to(x.dtype)

    def _uncertainty(self, x):
        """Up to 2^-20 of a row's largest value: PyTorch's own f32 runs err by about as much at a norm or a context."""
        noise = torch.rand(x.shape, generator=self.shake, dtype=x.dtype) * 2 - 1
        return noise * x.abs().amax(-1, keepdim=True) * 2.0**-20


def true_order(model, arithmetic):
    """Truth on this arithmetic: ggml's portable rounding, and float64 for the rest."""
    return Rounded(Stock(), model, "f64", arithmetic)


def noisy(order, n, model, dtype, feed, arithmetic):
    """What is run for noise: the n-th order with the two recipes in turn, shaken in f32 where errors add up."""
    shake = torch.Generator().manual_seed(n) if dtype == "f32" and feed != "site" else None
    return Rounded(order, model, dtype, arithmetic, (PORTABLE, VECTOR)[n % 2], shake=shake)


LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head")


def is_kept(feed, site):
    """Is truth on this arithmetic stored under this feed? Elsewhere plain truth is the same, or nobody judges."""
    if feed == "site":
        return site.endswith(LINEAR)
    if feed == "block":
        return site.startswith("model.layers.") and site.count(".") == 2
    return site in ("model.norm", "lm_head")


def keep(case, truths, only):
    """{feed/site: rows} of what is stored: a whole block only where its input is stored too."""
    stored = lambda feed, site: case.stores(site) and (feed != "block" or case.stores(before(site)))
    return {
        f"{feed}/{site}": round_to_40_bits(np.ascontiguousarray(only(case, case.which_rows(site), rows)))
        for feed, truth in truths.items() for site, rows in truth.items() if is_kept(feed, site) and stored(feed, site)
    }


def before(block):
    """model.layers.3 -> model.layers.2"""
    layer = int(block.rsplit(".", 1)[-1])
    return f"model.layers.{layer - 1}" if layer else "model.embed_tokens"
