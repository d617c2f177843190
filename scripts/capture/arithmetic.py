"""In what precision, and in what order, is a sum taken?

Truth wants the model in float64; noise wants it in f32, bf16 or f16 with the additions in another
order. Both are the same few functions of transformers, rewritten here line by line with two freedoms:

* `wide(dtype)`: transformers hard-codes float32 in RMSNorm, softmax and rotary, so `model.double()`
  alone is *not* float64. Here the inner precision is float32 or the tensor's own, whichever is wider:
  the stock arithmetic up to float32, true float64 above it. `prove.py` holds these to the originals.
* `order`: every sum (Linear, norm, softmax, q.k, probs.v) goes through an `Order`, which also says whether attention
  has scores and probabilities, or is computed in one pass over blocks of keys.
"""

from contextlib import contextmanager
from unittest import mock

import torch
import torch.nn.functional as F
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama import modeling_llama as llama

from .files import Trouble


def wide(dtype):
    """float32 for half types and float32 (what transformers does), float64 for float64."""
    return torch.promote_types(dtype, torch.float32)


class Stock:
    """The order that PyTorch chooses: whatever its kernels do."""

    name = "stock"

    def linear(self, x, weight):  # [..., in], [out, in] -> [..., out]
        return F.linear(x, weight)

    def matmul(self, a, b):  # [..., s, n], [..., n, t] -> [..., s, t]
        return torch.matmul(a, b)

    def mean(self, x):  # over the last axis, which stays as 1
        return x.mean(-1, keepdim=True)

    def softmax(self, x):  # over the last axis
        return F.softmax(x, dim=-1)

    def attention(self, query, key, value, mask, scaling, tap):  # [b, heads, s or t, head_dim] -> [b, heads, s, head_dim]
        weights = self.matmul(query, key.transpose(2, 3)) * scaling
        if mask is not None:
            weights = weights + mask
        weights = tap("scores", weights)  # [b, heads, s, t]
        weights = tap("probs", self.softmax(weights.to(wide(query.dtype))).to(query.dtype))
        return self.matmul(weights, value)


class Fused(Stock):
    """Attention in one pass over blocks of keys, as fused kernels compute it: neither scores nor probabilities exist,
    and what was summed is rescaled whenever a block has a larger score (Dao et al., 2022; Milakov and Gimelshein, 2018).

    `block` keys at a time, `lanes` interleaved running sums that are merged at the end (split keys, as on GPUs); with a
    `seed`, scores are summed over the head's width in a shuffled order, as by another kernel. Scores and sums are
    float32 in half types; a block's weights are rounded for the product with the values.
    """

    def __init__(self, block, lanes=1, seed=None):
        self.name, self.block, self.lanes, self.seed = f"fused-{block}-{lanes}-{seed}", block, lanes, seed

    def attention(self, query, key, value, mask, scaling, tap):
        precise = wide(query.dtype)
        if self.seed is not None:
            shuffle = torch.randperm(query.shape[-1], generator=torch.Generator().manual_seed(self.seed))
            query, key = query[..., shuffle], key[..., shuffle]
        blocks = range(0, key.shape[2], self.block)
        states = [self._over(blocks[lane :: self.lanes], query, key, value, mask, scaling, precise) for lane in range(self.lanes)]
        states = [state for state in states if state is not None]
        largest = torch.stack([most for most, _, _ in states]).amax(0)
        factors = [torch.exp(most - largest) for most, _, _ in states]
        total = sum(factor * total for factor, (_, total, _) in zip(factors, states))
        mixed = sum(factor * mixed for factor, (_, _, mixed) in zip(factors, states))
        return (mixed / total).to(query.dtype)

    def _over(self, blocks, query, key, value, mask, scaling, precise):
        """The largest score, the sum of weights, and the weighted sum of values over these blocks of keys."""
        state = None
        for start in blocks:
            some = slice(start, start + self.block)
            scores = query.to(precise) @ key[:, :, some].to(precise).transpose(2, 3) * scaling  # [b, heads, s, block]
            if mask is not None:
                scores = scores + mask[..., some].to(precise)
            most = scores.amax(-1, keepdim=True)
            if state is not None:
                most = torch.maximum(most, state[0])
            weights = torch.exp(scores - most)
            mixed = weights.to(value.dtype).to(precise) @ value[:, :, some].to(precise)
            total = weights.sum(-1, keepdim=True)
            if state is not None:
                rescale = torch.exp(state[0] - most)
                total, mixed = state[1] * rescale + total, state[2] * rescale + mixed
            state = most, total, mixed
        return state


class Permuted(Stock):
    """The same kernels on shuffled terms: another honest order, as another BLAS would have."""

    def __init__(self, seed):
        self.name, self.seed, self._weights = f"permuted-{seed}", seed, {}

    def _shuffle(self, n):
        return torch.randperm(n, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + n))

    def linear(self, x, weight):
        shuffle = self._shuffle(x.shape[-1])
        if id(weight) not in self._weights:  # shuffling the weights costs more than the product: once
            self._weights[id(weight)] = weight.index_select(1, shuffle)
        return F.linear(x[..., shuffle], self._weights[id(weight)])

    def matmul(self, a, b):
        shuffle = self._shuffle(a.shape[-1])
        return torch.matmul(a[..., shuffle], b[..., shuffle, :])

    def mean(self, x):
        return x[..., self._shuffle(x.shape[-1])].mean(-1, keepdim=True)

    def softmax(self, x):
        shuffle = self._shuffle(x.shape[-1])
        return F.softmax(x[..., shuffle], dim=-1)[..., shuffle.argsort()]


class Sequential(Stock):
    """First to last, one running total: a plain loop, the worst order that an honest port would use.

    Half types are added up in float32 and rounded once at the end, as every BLAS does.
    """

    name = "sequential"

    def __init__(self):
        self._weights = {}

    def linear(self, x, weight):
        if id(weight) not in self._weights:
            self._weights[id(weight)] = weight.to(wide(weight.dtype)).t().contiguous()
        columns = self._weights[id(weight)]  # [in, out]
        flat = x.reshape(-1, x.shape[-1]).to(columns.dtype)  # [rows, in]
        total = torch.zeros(flat.shape[0], columns.shape[1], dtype=columns.dtype)
        for k in range(columns.shape[0]):  # a rank-1 update for each input feature
            total.addcmul_(flat[:, k : k + 1], columns[k])
        return total.to(x.dtype).view(*x.shape[:-1], -1)

    def matmul(self, a, b):
        left, right = a.to(wide(a.dtype)), b.to(wide(b.dtype))
        total = torch.zeros(*a.shape[:-1], b.shape[-1], dtype=left.dtype)
        for k in range(a.shape[-1]):
            total.addcmul_(left[..., k : k + 1], right[..., k : k + 1, :])
        return total.to(a.dtype)

    def _sum(self, x):
        total = torch.zeros_like(x[..., 0])
        for term in x.unbind(-1):
            total = total + term
        return total.unsqueeze(-1)

    def mean(self, x):
        return self._sum(x) / x.shape[-1]

    def softmax(self, x):
        powers = (x - x.amax(-1, keepdim=True)).exp()
        return powers / self._sum(powers)


def orders(count=8):
    """The orders of summation that noise is measured over, one at a time: each holds a shuffled copy of the weights."""
    yield Stock()
    if count == 1:
        return
    for seed in range(1, count - 1):
        yield Permuted(seed)
    yield Sequential()


def fused_orders():
    """Fused attention that noise is measured over: key by key, in small and large blocks, and over split keys."""
    yield Fused(1)
    yield Fused(4, seed=1)
    yield Fused(1, lanes=4, seed=2)
    yield Fused(64)
    yield Fused(64, lanes=2, seed=3)


def no_tap(_site, tensor):
    return tensor


def _linear(order):
    def forward(self, x):  # torch.nn.Linear.forward
        y = order.linear(x, self.weight)
        return y if self.bias is None else y + self.bias

    return forward


def _rms_norm(order):
    def forward(self, hidden_states):  # LlamaRMSNorm.forward; [b, s, width]
        input_dtype = hidden_states.dtype
        hidden_states = hidden_states.to(wide(input_dtype))
        variance = order.mean(hidden_states.pow(2))
        hidden_states = hidden_states * torch.rsqrt(variance + self.variance_epsilon)
        return self.weight * hidden_states.to(input_dtype)

    return forward


def inverse_frequencies(rotary, dtype):
    """transformers' own formula, evaluated in `dtype`.

    The module's buffer is no use: it was made in float32, and `model.to(bfloat16)` rounds it further.
    transformers spells the dtype `torch.float`, so that name is lent another meaning for the call.
    """
    if rotary.rope_type not in ("default", "linear", "llama3"):
        raise Trouble(f"rope type `{rotary.rope_type}` has no float64 truth here",
                      "default, linear and llama3 do; add yours to arithmetic.py and prove it")
    init = ROPE_INIT_FUNCTIONS.get(rotary.rope_type, rotary.compute_default_rope_parameters)
    with mock.patch.object(torch, "float", dtype):
        inv_freq, scaling = init(rotary.config)
    assert inv_freq.dtype == dtype, "transformers no longer spells the dtype `torch.float`"
    return inv_freq, scaling  # [head_dim / 2]


def _rotary(self, x, position_ids):  # LlamaRotaryEmbedding.forward; position_ids [b, s]
    precise = wide(x.dtype)
    inv_freq, scaling = inverse_frequencies(self, precise)
    freqs = position_ids[..., None].to(precise) * inv_freq
    emb = torch.cat((freqs, freqs), dim=-1)  # [b, s, head_dim]
    return (emb.cos() * scaling).to(x.dtype), (emb.sin() * scaling).to(x.dtype)


def _eager_attention(order, tap):
    def forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **_):
        # query [b, heads, s, head_dim]; key, value [b, kv_heads, t, head_dim]; mask [b, 1, s, t]
        where = f"model.layers.{module.layer_idx}.self_attn"
        key_states = llama.repeat_kv(key, module.num_key_value_groups)
        value_states = llama.repeat_kv(value, module.num_key_value_groups)
        within = lambda site, tensor: tap(f"{where}.{site}", tensor)
        attn_output = order.attention(query, key_states, value_states, attention_mask, scaling, within)
        return attn_output.transpose(1, 2).contiguous(), None  # [b, s, heads, head_dim]

    return forward


@contextmanager
def arithmetic(order, tap=no_tap):
    """Inside, every Llama computes in `wide` precision and in this order.

    The attention function is looked up in its module at each call, so replacing the name is enough.
    """
    swap = mock.patch.object
    with (
        swap(torch.nn.Linear, "forward", _linear(order)),
        swap(llama.LlamaRMSNorm, "forward", _rms_norm(order)),
        swap(llama.LlamaRotaryEmbedding, "forward", _rotary),
        swap(llama, "eager_attention_forward", _eager_attention(order, tap)),
    ):
        yield
