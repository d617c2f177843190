"""Writes down what a Hugging Face Llama computes, site by site, in one forward pass. One file, to be copied.

    from dump_torch import record

    with torch.inference_mode(), record("dump.safetensors"):
        model(input_ids=ids)

Any LlamaForCausalLM, on any device, in any dtype, with eager or sdpa attention; needs torch, transformers 5 and
safetensors. Nothing of the model is changed, and nothing but looking is done to its tensors.

The file holds one tensor a site, named as the Hugging Face module path, in the model's own dtype. Where no module
stands: `self_attn.q_rope`, `.k_rope`, `.scores` (scaled and masked, before softmax), `.probs`, `.context` (heads merged,
before o_proj), `mlp.act` (silu(gate) * up), `post_attention_layernorm.input`. sdpa never makes scores and probs.

Shapes (b batch, s query positions, t key positions): q_rope [b, heads, s, head_dim]; k_rope [b, kv_heads, s, head_dim];
scores and probs [b, heads, s, t]; context [b, s, heads * head_dim]; lm_head [b, s, vocab]; all others [b, s, width].
Beside them `input_ids` [b, s] and `position_ids` [1 or b, s], and `attention_mask` if the caller gave one; in the
metadata the attention implementation, the dtype and the versions.
"""

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import torch
import transformers
from safetensors.torch import save_file
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from transformers.models.llama import modeling_llama as llama

# What comes out of these modules of a layer is a site of their own name; so is what comes out of a layer.
AFTER = ("input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
         "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
AFTER_ALL = ("model.embed_tokens", "model.norm", "lm_head")
# And what goes into these is one of another name.
BEFORE = {"self_attn.o_proj": "self_attn.context", "post_attention_layernorm": "post_attention_layernorm.input",
          "mlp.down_proj": "mlp.act"}


@contextmanager
def record(path):
    """Inside, one forward pass of a LlamaForCausalLM is written to `path`, whole or not at all."""
    seen = _Pass()
    with ExitStack() as stack:
        stack.callback(register_module_forward_pre_hook(seen.enter).remove)
        stack.callback(register_module_forward_hook(seen.leave, with_kwargs=True).remove)
        wraps = ((llama, "apply_rotary_pos_emb", seen.rope), (torch.nn.functional, "softmax", seen.softmax))
        for where, name, wrap in wraps:
            stack.enter_context(mock.patch.object(where, name, wrap(getattr(where, name))))
        yield
    if "lm_head" not in seen.tensors:
        raise RuntimeError("no LlamaForCausalLM was run to its end: nothing to write")
    beside = Path(path).with_name(f".{Path(path).name}.partial")
    try:
        save_file(seen.tensors, beside, seen.metadata)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


class _Pass:
    """One forward pass, as the hooks see it."""

    def __init__(self):
        self.tensors, self.metadata, self.names = {}, None, {}
        self.attention = None  # the name of the attention that is under way

    def keep(self, site, tensor):
        # A copy: the next operation may write into it.
        self.tensors[site] = tensor.detach().to("cpu", copy=True).contiguous()

    def enter(self, module, inputs):
        if isinstance(module, llama.LlamaForCausalLM):
            self.begin(module)
        name = self.names.get(module)
        if name is None:
            return
        here, part = _split(name)
        if part == "self_attn":
            self.attention = name
        elif part in BEFORE:
            self.keep(f"{here}.{BEFORE[part]}", inputs[0])
        elif name == "model.embed_tokens":
            self.keep("input_ids", inputs[0])

    def leave(self, module, _inputs, kwargs, output):
        name = self.names.get(module)
        if name is None:
            return
        _, part = _split(name)
        if part == "self_attn":
            self.attention = None
        elif name == "model.rotary_emb":
            self.keep("position_ids", kwargs["position_ids"])
        elif part in AFTER or part == "" or name in AFTER_ALL:
            self.keep(name, output[0] if isinstance(output, tuple) else output)
        elif isinstance(module, llama.LlamaForCausalLM) and kwargs.get("attention_mask") is not None:
            self.keep("attention_mask", kwargs["attention_mask"])

    def begin(self, model):
        if self.tensors:
            raise RuntimeError("a dump is one forward pass: record around each of several")
        self.names = {module: name for name, module in model.named_modules()}
        self.metadata = {
            "format": "1", "architecture": type(model).__name__, "dtype": str(model.dtype).removeprefix("torch."),
            "attention": str(model.config._attn_implementation), "name_or_path": str(model.config._name_or_path),
            "torch": torch.__version__, "transformers": transformers.__version__,
        }

    def rope(self, stock):
        """Rope is applied inside LlamaAttention.forward by a function of its module: no hook sees it."""

        def apply_rotary_pos_emb(*args, **kwargs):
            q, k = stock(*args, **kwargs)
            if self.attention:
                self.keep(f"{self.attention}.q_rope", q)
                self.keep(f"{self.attention}.k_rope", k)
            return q, k

        return apply_rotary_pos_emb

    def softmax(self, stock):
        """Eager attention calls it between scores and probabilities, and then rounds to the model's dtype."""

        def softmax(scores, *args, **kwargs):
            probs = stock(scores, *args, **kwargs)
            if self.attention:
                self.keep(f"{self.attention}.scores", scores)
                self.keep(f"{self.attention}.probs", probs.to(scores.dtype))
            return probs

        return softmax


def _split(name):
    """model.layers.3.mlp.up_proj -> (model.layers.3, mlp.up_proj); outside the layers the part is None."""
    parts = name.split(".")
    if parts[:2] != ["model", "layers"] or len(parts) < 3:
        return name, None
    return ".".join(parts[:3]), ".".join(parts[3:])
