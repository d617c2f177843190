"""What Gemma 2 and 3 compute in another way than Llama: the counterpart of capture/ for them.

`different(model)` is a context in which capture/'s patches, taps and proofs are Gemma's. Each patched function is
transformers' own, line by line, in `wide` precision and in a given order of summation, as in capture/arithmetic.py;
`capture_families.py --prove` holds them to the originals.
"""

from contextlib import ExitStack, contextmanager
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from capture import arithmetic, prove, taps
from capture.arithmetic import Stock, wide
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS


def _rms_norm(order):
    def forward(self, x):  # Gemma2RMSNorm.forward: 1 + w, multiplied before the cast; [.., width]
        precise = x.to(wide(x.dtype))
        output = precise * torch.rsqrt(order.mean(precise.pow(2)) + self.eps)
        output = output * (1.0 + self.weight.to(precise.dtype))
        return output.type_as(x)

    return forward


def _embedding(self, input_ids):  # Gemma2TextScaledWordEmbedding.forward
    # Its buffer is no use: it was made in float32.
    scale = torch.tensor(self.scalar_embed_scale, dtype=wide(self.weight.dtype)).to(self.weight.dtype)
    return F.embedding(input_ids, self.weight, self.padding_idx) * scale


def inverse_frequencies(rotary, dtype, layer_type=None):
    """transformers' own formula, evaluated in `dtype`; in Gemma 3 for one type of layer."""
    kind = rotary.rope_type if layer_type is None else rotary.rope_type[layer_type]
    init = ROPE_INIT_FUNCTIONS.get(kind, rotary.compute_default_rope_parameters)
    with mock.patch.object(torch, "float", dtype):
        if layer_type is None:
            inv_freq, scaling = init(rotary.config)
        else:
            inv_freq, scaling = init(rotary.config, torch.device("cpu"), layer_type=layer_type)
    assert inv_freq.dtype == dtype, "transformers no longer spells the dtype `torch.float`"
    return inv_freq, scaling  # [head_dim / 2]


def _rotary(self, x, position_ids, layer_type=None):  # Gemma3RotaryEmbedding.forward; position_ids [b, s]
    precise = wide(x.dtype)
    inv_freq, scaling = inverse_frequencies(self, precise, layer_type)
    freqs = position_ids[..., None].to(precise) * inv_freq
    emb = torch.cat((freqs, freqs), dim=-1)  # [b, s, head_dim]
    return (emb.cos() * scaling).to(x.dtype), (emb.sin() * scaling).to(x.dtype)


def _eager_attention(order, tap):
    def forward(module, query, key, value, attention_mask, dropout=0.0, scaling=None, softcap=None, **_):
        # query [b, heads, s, head_dim]; key, value [b, kv_heads, t, head_dim]; mask [b, 1, s, t]
        where = f"model.layers.{module.layer_idx}.self_attn"
        key_states = arithmetic.llama.repeat_kv(key, module.num_key_value_groups)
        value_states = arithmetic.llama.repeat_kv(value, module.num_key_value_groups)

        attn_weights = order.matmul(query, key_states.transpose(2, 3)) * scaling
        if softcap is not None:
            attn_weights = attn_weights / softcap
            attn_weights = torch.tanh(attn_weights)
            attn_weights = attn_weights * softcap
        if attention_mask is not None:
            # -inf and not the lowest number: which keys are barred differs between layers, so that the case
            # cannot say it afterwards. A row that sees nothing is in no case.
            attn_weights = attn_weights.masked_fill(attention_mask < 0, -torch.inf)
        attn_weights = tap(f"{where}.scores", attn_weights)  # [b, heads, s, t]

        attn_weights = order.softmax(attn_weights.to(wide(query.dtype))).to(query.dtype)
        attn_weights = tap(f"{where}.probs", attn_weights)
        attn_output = order.matmul(attn_weights, value_states)
        return attn_output.transpose(1, 2).contiguous(), attn_weights  # [b, s, heads, head_dim]

    return forward


def _tapped(tapped):
    """`tapped` with Gemma's sites: four norms in a layer, and logits after a softcap."""

    @contextmanager
    def more(model, order, tap):
        def known(site, tensor):  # in Gemma, this is o_proj, which has its own tap
            return tensor if site.endswith("post_attention_layernorm.input") else tap(site, tensor)

        with ExitStack() as stack:
            hook = lambda handle: stack.callback(handle.remove)
            after = lambda module, site: hook(module.register_forward_hook(
                lambda _module, _inputs, output: tap(site, output)))
            for number, layer in enumerate(model.model.layers):
                here = f"model.layers.{number}"
                hook(layer.pre_feedforward_layernorm.register_forward_pre_hook(
                    lambda _module, inputs, here=here: (
                        tap(f"{here}.pre_feedforward_layernorm.input", inputs[0]), *inputs[1:])))
                after(layer.pre_feedforward_layernorm, f"{here}.pre_feedforward_layernorm")
                after(layer.post_feedforward_layernorm, f"{here}.post_feedforward_layernorm")
            if model.config.final_logit_softcapping:
                hook(model.register_forward_hook(lambda _module, _inputs, output: (tap("lm_head.softcap", output.logits), output)[1]))
            patch = lambda name, function: stack.enter_context(
                mock.patch.object(getattr(arithmetic.llama, name), "forward", function))
            patch("LlamaTextScaledWordEmbedding", _embedding)
            stack.enter_context(tapped(model, order, known))
            yield

    return more


def _pieces(model, dtype):
    """The patched functions on made-up input, as capture/prove.py has them for Llama."""
    make = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(*shape, generator=make, dtype=torch.float64).to(dtype)
    config, rows, llama = model.config, 17, arithmetic.llama
    norm = llama.LlamaRMSNorm(config.hidden_size, config.rms_norm_eps).to(dtype)
    norm.weight.data = draw(config.hidden_size)
    embedding = model.at({torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}.get(dtype, "f64")).model.embed_tokens
    rotary = llama.LlamaRotaryEmbedding(config)  # not cast: its inv_freq is float32 in a stock model too
    types = sorted(set(config.layer_types)) if isinstance(rotary.rope_type, dict) else [None]
    positions = torch.arange(0, config.max_position_embeddings, 7)[None]
    x, q = draw(2, rows, config.hidden_size), draw(2, config.num_attention_heads, rows, config.head_dim)
    k, v = (draw(2, config.num_key_value_heads, rows, config.head_dim) for _ in range(2))
    mask = torch.zeros(2, 1, rows, rows, dtype=dtype).masked_fill(
        ~torch.ones(rows, rows, dtype=torch.bool).tril(), torch.finfo(dtype).min)
    attention = model.stock.model.layers[0].self_attn
    cap = config.attn_logit_softcapping
    given = [() if of is None else (of,) for of in types]
    return {
        "RMSNorm.forward": lambda: norm(x),
        "ScaledWordEmbedding.forward": lambda: embedding(torch.arange(40)[None]),
        "RotaryEmbedding.forward": lambda: torch.stack([torch.stack(rotary(x, positions, *of)) for of in given]),
        "eager_attention_forward": lambda: llama.eager_attention_forward(
            attention, q, k, v, mask, scaling=attention.scaling, softcap=cap)[0],
    }, (norm, x, rotary, given, positions, q, k, v, mask, attention, cap, embedding)


def _against_longdouble(model):
    """(name, float64 result, the same in numpy's 80-bit floats)."""
    _, (norm, x, rotary, given, positions, q, k, v, mask, attention, cap, embedding) = _pieces(model, torch.float64)
    long = lambda tensor: tensor.detach().numpy().astype(np.longdouble)
    with arithmetic.arithmetic(Stock()), mock.patch.object(type(embedding), "forward", _embedding):
        yield ("RMSNorm.forward", norm(x).detach().numpy(), (1 + long(norm.weight)) * long(x) / np.sqrt(
            (long(x) ** 2).mean(-1, keepdims=True) + np.longdouble(norm.eps)))
        yield ("ScaledWordEmbedding.forward", embedding(torch.arange(40)).detach().numpy(),
               long(embedding.weight)[:40] * np.sqrt(np.longdouble(model.config.hidden_size)))
        got = arithmetic.llama.eager_attention_forward(
            attention, q, k, v, mask, scaling=attention.scaling, softcap=cap)[0].numpy()
        groups = attention.num_key_value_groups
        scores = np.einsum("bhsd,bhtd->bhst", long(q), long(k).repeat(groups, 1)) * attention.scaling
        scores = (scores if cap is None else np.tanh(scores / cap) * cap) + long(mask)
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        probs = powers / powers.sum(-1, keepdims=True)
        yield "eager_attention_forward", got, np.einsum("bhst,bhtd->bshd", probs, long(v).repeat(groups, 1))
        dim, near = model.config.head_dim, positions[:, :3]
        for of in given:
            parameters = model.config.rope_parameters[of[0]] if of else model.config.rope_parameters
            angles = long(near)[..., None] / np.longdouble(parameters["rope_theta"]) ** (
                np.arange(0, dim, 2, dtype=np.longdouble) / dim) / np.longdouble(parameters.get("factor", 1.0))
            angles = np.concatenate([angles, angles], -1)
            yield (f"RotaryEmbedding.forward {' '.join(of)}", torch.stack(rotary(x, near, *of)).numpy(),
                   np.stack([np.cos(angles), np.sin(angles)]))


def _patches(original):
    """capture/arithmetic.py's context, with the scaled embedding."""

    @contextmanager
    def patched(order, tap=arithmetic.no_tap):
        with mock.patch.object(arithmetic.llama.LlamaTextScaledWordEmbedding, "forward", _embedding), original(order, tap):
            yield

    return patched


@contextmanager
def different(tapped):
    """Inside, capture/ patches, taps and proves a Gemma. `tapped` are the taps of a Llama, with its norms of heads."""
    swap, original = mock.patch.object, arithmetic.arithmetic
    with ExitStack() as stack:
        for module, name, mine in [
            (arithmetic, "_rms_norm", _rms_norm), (arithmetic, "_rotary", _rotary),
            (arithmetic, "_eager_attention", _eager_attention), (taps, "tapped", _tapped(tapped)),
            (prove, "_pieces", _pieces), (prove, "_against_longdouble", _against_longdouble),
            (prove, "arithmetic", _patches(original)),
        ]:
            stack.enter_context(swap(module, name, mine))
        yield
