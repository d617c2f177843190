"""Where are the values seen, and how are they replaced?

A tap is called with a site's name and its tensor and may overwrite rows *in place*. In place matters:
after the first residual addition the same tensor object is both the norm's input and the residual of the
second addition, and both must go on with what was put there.
"""

from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from transformers.models.llama import modeling_llama as llama

from .arithmetic import arithmetic


@contextmanager
def tapped(model, order, tap):
    """Run `model` in this order of summation, with `tap(site, tensor)` at every site, in forward order."""
    with ExitStack() as stack:
        hook = lambda handle: stack.callback(handle.remove)
        after = lambda module, site: hook(module.register_forward_hook(
            lambda _module, _inputs, output: tap(site, output)))
        before = lambda module, site: hook(module.register_forward_pre_hook(
            lambda _module, inputs: (tap(site, inputs[0]), *inputs[1:])))

        after(model.model.embed_tokens, "model.embed_tokens")
        for number, layer in enumerate(model.model.layers):
            here = f"model.layers.{number}"
            after(layer.input_layernorm, f"{here}.input_layernorm")
            for name in ("q_proj", "k_proj", "v_proj"):
                after(getattr(layer.self_attn, name), f"{here}.self_attn.{name}")
            # q_rope, k_rope, scores and probs have no module: see below and arithmetic.py
            before(layer.self_attn.o_proj, f"{here}.self_attn.context")
            after(layer.self_attn.o_proj, f"{here}.self_attn.o_proj")
            before(layer.post_attention_layernorm, f"{here}.post_attention_layernorm.input")
            after(layer.post_attention_layernorm, f"{here}.post_attention_layernorm")
            after(layer.mlp.gate_proj, f"{here}.mlp.gate_proj")
            after(layer.mlp.up_proj, f"{here}.mlp.up_proj")
            before(layer.mlp.down_proj, f"{here}.mlp.act")  # silu(gate) * up
            after(layer.mlp.down_proj, f"{here}.mlp.down_proj")
            after(layer, here)  # a bare tensor in transformers 5, not a tuple
        after(model.model.norm, "model.norm")
        after(model.lm_head, "lm_head")

        stack.enter_context(_rope_seen(model, tap, hook))
        stack.enter_context(arithmetic(order, tap))
        yield


def _rope_seen(model, tap, hook):
    """Rope is applied inside LlamaAttention.forward by a module-level function: wrap that.

    It is not told its layer, so each attention says on entry which one it is.
    """
    layer = None

    def enter(module, _inputs):
        nonlocal layer
        layer = module.layer_idx

    for block in model.model.layers:
        hook(block.self_attn.register_forward_pre_hook(enter))
    stock = llama.apply_rotary_pos_emb

    def apply_rotary_pos_emb(*args, **kwargs):
        q, k = stock(*args, **kwargs)  # [b, heads, s, head_dim], [b, kv_heads, s, head_dim]
        here = f"model.layers.{layer}.self_attn"
        return tap(f"{here}.q_rope", q), tap(f"{here}.k_rope", k)

    return mock.patch.object(llama, "apply_rotary_pos_emb", apply_rotary_pos_emb)


def run(model, case, order, tap):
    """One forward pass over a case; returns the logits [b, s, vocab]."""
    dtype = model.lm_head.weight.dtype
    with torch.inference_mode(), tapped(model, order, tap):
        return model(
            input_ids=case.input_ids,
            attention_mask=case.additive_mask(dtype),
            position_ids=case.position_ids,
            use_cache=False,
        ).logits
