"""Are the patched functions still transformers' own?

Run in float32 (and bf16, f16), each must equal the function it replaces; run in float64, each must agree
with 80-bit arithmetic to a few ulps, so that no float32 is left inside. Then whole models: every hidden state
and the logits of the untouched model against the patched one with all taps set.
"""

import numpy as np
import torch
from transformers.models.llama import modeling_llama as llama

from .arithmetic import Stock, arithmetic
from .cases import Case
from .files import Trouble
from .noise import DTYPES
from .taps import run

ALLOWED_ULPS = 1


BITS = {torch.float32: 24, torch.bfloat16: 8, torch.float16: 11}


def ulps(got, stock):
    """The largest distance of two tensors, in units of the last place (of stock's dtype) of the larger value."""
    a, b = got.double().numpy(), stock.double().numpy()
    exponent = np.frexp(np.maximum(np.abs(a), np.abs(b)))[1]
    return float((np.abs(a - b) / 2.0 ** (exponent - BITS[stock.dtype])).max())


def _pieces(model, dtype):
    """The three functions on made-up input, as callables that look the function up when called."""
    make = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(*shape, generator=make, dtype=torch.float64).to(dtype)
    config, rows = model.config, 17
    norm = llama.LlamaRMSNorm(config.hidden_size, config.rms_norm_eps).to(dtype)
    norm.weight.data = draw(config.hidden_size)
    rotary = llama.LlamaRotaryEmbedding(config)  # not cast: its inv_freq is float32 in a stock model too
    positions = torch.arange(0, config.max_position_embeddings, 7)[None]
    x, q = draw(2, rows, config.hidden_size), draw(2, config.num_attention_heads, rows, config.head_dim)
    k, v = (draw(2, config.num_key_value_heads, rows, config.head_dim) for _ in range(2))
    mask = torch.zeros(2, 1, rows, rows, dtype=dtype).masked_fill(
        ~torch.ones(rows, rows, dtype=torch.bool).tril(), torch.finfo(dtype).min)
    attention = model.stock.model.layers[0].self_attn
    return {
        "LlamaRMSNorm.forward": lambda: norm(x),
        "LlamaRotaryEmbedding.forward": lambda: torch.stack(rotary(x, positions)),
        "eager_attention_forward": lambda: llama.eager_attention_forward(attention, q, k, v, mask, attention.scaling)[0],
    }, (norm, x, rotary, positions, q, k, v, mask, attention)


@torch.inference_mode()
def prove(model, say=print):
    """Print a line for each comparison; raise if one is off."""
    worst = []

    def line(what, far, allowed):
        worst.append(far <= allowed)
        say(f"{'ok  ' if worst[-1] else 'FAIL'}  {what:58} {far:9.3g} ulp (at most {allowed})")

    for name, dtype in DTYPES.items():
        for what, function in _pieces(model, dtype)[0].items():
            stock = function()
            with arithmetic(Stock()):
                line(f"{what} in {name}, patched against stock", ulps(function(), stock), ALLOWED_ULPS)
    for what, patched, exact in _against_longdouble(model):
        # Scaled by the largest value: a cosine near zero has no relative precision to lose.
        far = float(np.abs(patched - exact).max() / np.abs(exact).max() / 2.0**-53)
        line(f"{what} in float64 against 80-bit", far, 64)

    ids = [[(7 * n + 3) % model.config.vocab_size for n in range(11)]]
    stock = model.stock(torch.tensor(ids), output_hidden_states=True, use_cache=False)
    seen = {}

    def tap(site, tensor):
        seen[site] = tensor.clone()
        return tensor

    logits = run(model.at("f32"), Case("prove", ids), Stock(), tap)
    names = ["model.embed_tokens", *(f"model.layers.{n}" for n in range(model.config.num_hidden_layers - 1)), "model.norm"]
    far = max(ulps(seen[site], hidden) for site, hidden in zip(names, stock.hidden_states, strict=True))
    line("whole model in f32, hidden states, patched and tapped", far, ALLOWED_ULPS)
    line("whole model in f32, logits, patched and tapped", ulps(logits, stock.logits), ALLOWED_ULPS)
    if not all(worst):
        raise Trouble("the patched functions are not transformers' own", "another version of transformers? see arithmetic.py")


def _against_longdouble(model):
    """(name, float64 result, the same in numpy's 80-bit floats); on machines without those, float64 again."""
    _, (norm, x, rotary, positions, q, k, v, mask, attention) = _pieces(model, torch.float64)
    long = lambda tensor: tensor.numpy().astype(np.longdouble)
    with arithmetic(Stock()):
        yield ("LlamaRMSNorm.forward", norm(x).numpy(), long(norm.weight) * long(x) / np.sqrt(
            (long(x) ** 2).mean(-1, keepdims=True) + np.longdouble(norm.variance_epsilon)))
        got = llama.eager_attention_forward(attention, q, k, v, mask, attention.scaling)[0].numpy()
        groups = attention.num_key_value_groups
        scores = np.einsum("bhsd,bhtd->bhst", long(q), long(k).repeat(groups, 1)) * attention.scaling + long(mask)
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        probs = powers / powers.sum(-1, keepdims=True)
        yield "eager_attention_forward", got, np.einsum("bhst,bhtd->bshd", probs, long(v).repeat(groups, 1))
        if rotary.rope_type == "default":  # angles grow to thousands: the error of an angle does, too
            dim, theta = model.config.head_dim, np.longdouble(model.config.rope_parameters["rope_theta"])
            near = positions[:, :3]
            angles = long(near)[..., None] / theta ** (np.arange(0, dim, 2, dtype=np.longdouble) / dim)
            angles = np.concatenate([angles, angles], -1)
            yield ("LlamaRotaryEmbedding.forward", torch.stack(rotary(x, near)).numpy(),
                   np.stack([np.cos(angles), np.sin(angles)]))
