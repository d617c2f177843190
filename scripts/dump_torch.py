#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.4", "transformers>=4.56", "safetensors>=0.4"]
# ///
"""Records what a Hugging Face Llama computes: one forward pass, with every site, to one .safetensors file.

    python dump_torch.py MODEL --prompt TEXT --out dump.safetensors [--dtype bf16] [--attention sdpa]

or in your own code, around any call of the model:

    from dump_torch import record
    with record("dump.safetensors"):
        model(ids)

`record()` without a file uses the one that RBEES_DUMP names, and does nothing if that is not set. Names,
shapes and metadata follow docs/dump-format.md. Every family whose modules have the same names as Llama's
works (Mistral, Qwen2, Qwen3, Gemma2, ...), with the modules that it adds to them. With sdpa there are no scores
and probabilities. Only the first forward pass is recorded. The model continues with its own values; nothing is
changed.
"""

import argparse
import os
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "f64": torch.float64}


@contextmanager
def record(file=None):
    """Records the first forward pass of the first Llama that runs inside; writes the file at the end."""
    file = file or os.environ.get("RBEES_DUMP")
    if not file:
        yield None
        return
    recorder = Recorder()
    with ExitStack() as stack:
        recorder.wait_for_a_model(stack)
        yield recorder
    recorder.write(Path(file))


class Recorder:
    """The tensors of one pass, by site."""

    def __init__(self):
        self.tensors, self.model, self.over = {}, None, False

    def take(self, site, tensor):
        if not self.over:
            self.tensors.setdefault(site, tensor.detach().to("cpu", copy=True).contiguous())

    def write(self, file):
        if self.model is None:
            raise RuntimeError("no model with `model.layers` and `lm_head` ran inside the recorded block")
        if "input_ids" not in self.tensors:
            raise RuntimeError("the model was called without token ids; a recording needs them")
        config = self.model.config
        names = {dtype: name for name, dtype in DTYPES.items()}
        metadata = {
            "format": "rbees-dump 1", "recorder": "dump_torch.py", "model": config._name_or_path or "",
            "dtype": names.get(self.model.dtype, str(self.model.dtype)), "attention": config._attn_implementation,
        }
        partial = file.with_name(f".{file.name}.partial")
        try:
            save_file(self.tensors, partial, metadata)
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)

    def wait_for_a_model(self, stack):
        """Waits for the first model that is called and has the modules of a Llama."""

        def before(module, _inputs):
            if self.model is None and hasattr(module, "lm_head") and hasattr(getattr(module, "model", None), "layers"):
                self.model = module
                self.attach(stack)

        stack.callback(torch.nn.modules.module.register_module_forward_pre_hook(before).remove)

    def attach(self, stack):
        hook = lambda handle: stack.callback(handle.remove)
        after = lambda module, site: hook(module.register_forward_hook(
            # decoder layers return tuples in older versions
            lambda _module, _inputs, output: self.take(site, output[0] if isinstance(output, tuple) else output)))
        before = lambda module, site: hook(module.register_forward_pre_hook(
            lambda _module, inputs: self.take(site, inputs[0])))
        inner = self.model.model

        before(inner.embed_tokens, "input_ids")
        after(inner.embed_tokens, "model.embed_tokens")
        hook(inner.rotary_emb.register_forward_pre_hook(self._positions, with_kwargs=True))
        for number, layer in enumerate(inner.layers):
            here = f"model.layers.{number}"
            after(layer.input_layernorm, f"{here}.input_layernorm")
            for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                after(getattr(layer.self_attn, name), f"{here}.self_attn.{name}")
            # q_rope, k_rope, scores and probs are not modules' outputs: see below
            before(layer.self_attn.o_proj, f"{here}.self_attn.context")
            for name in ("q_norm", "k_norm"):
                if norm := getattr(layer.self_attn, name, None):
                    self._head_norm(norm, f"{here}.self_attn.{name}", hook)
            # The norm that reads the first residual sum; Gemma norms the attention's output before it.
            gemma = hasattr(layer, "pre_feedforward_layernorm")
            summed = "pre_feedforward_layernorm" if gemma else "post_attention_layernorm"
            before(getattr(layer, summed), f"{here}.{summed}.input")
            if gemma:
                after(layer.pre_feedforward_layernorm, f"{here}.pre_feedforward_layernorm")
                after(layer.post_feedforward_layernorm, f"{here}.post_feedforward_layernorm")
            after(layer.post_attention_layernorm, f"{here}.post_attention_layernorm")
            after(layer.mlp.gate_proj, f"{here}.mlp.gate_proj")
            after(layer.mlp.up_proj, f"{here}.mlp.up_proj")
            before(layer.mlp.down_proj, f"{here}.mlp.act")
            after(layer.mlp.down_proj, f"{here}.mlp.down_proj")
            after(layer, here)
        after(inner.norm, "model.norm")
        after(self.model.lm_head, "lm_head")
        hook(self.model.register_forward_hook(self._end, with_kwargs=True))
        # The module that defines the family: modeling_llama, modeling_mistral, ...
        family = sys.modules[type(inner.layers[0].self_attn).__module__]
        stack.enter_context(self._rope_seen(family, inner.layers, hook))
        if hasattr(family, "eager_attention_forward"):
            stack.enter_context(self._attention_seen(family))

    def _head_norm(self, norm, site, hook):
        """Heads are an axis of its output: before positions in some families, and after them in others."""
        heads = self.model.config.num_key_value_heads if site.endswith("k_norm") else self.model.config.num_attention_heads

        def seen(_module, _inputs, output):
            positions_first = output.shape[2] == heads and output.shape[1] == self.tensors["input_ids"].shape[1]
            self.take(site, (output if positions_first else output.transpose(1, 2)).flatten(2))

        hook(norm.register_forward_hook(seen))

    def _end(self, _module, _inputs, named, output):
        if getattr(self.model.config, "final_logit_softcapping", None):
            self.take("lm_head.softcap", output.logits)
        mask = named.get("attention_mask")
        if isinstance(mask, torch.Tensor) and mask.dim() == 2:
            self.take("attention_mask", mask.long())
        self.over = True

    def _positions(self, _module, inputs, named):
        positions = named.get("position_ids", inputs[1] if len(inputs) > 1 else None)  # [1 or b, s]
        if positions is not None and "input_ids" in self.tensors and not self.over:
            self.take("position_ids", positions.expand(self.tensors["input_ids"].shape).long())

    def _rope_seen(self, family, layers, hook):
        """Rope is applied inside the attention's forward, by a function of the family's module that does not
        know its layer. So each attention module stores its layer number on entry."""
        layer = None

        def enter(module, _inputs):
            nonlocal layer
            layer = module.layer_idx

        for block in layers:
            hook(block.self_attn.register_forward_pre_hook(enter))
        stock = family.apply_rotary_pos_emb

        def apply_rotary_pos_emb(*args, **kwargs):
            q, k = stock(*args, **kwargs)  # [b, heads, s, head_dim], [b, kv_heads, s, head_dim]
            self.take(f"model.layers.{layer}.self_attn.q_rope", q)
            self.take(f"model.layers.{layer}.self_attn.k_rope", k)
            return q, k

        return mock.patch.object(family, "apply_rotary_pos_emb", apply_rotary_pos_emb)

    def _attention_seen(self, family):
        """Scores are the input of softmax in eager attention, which also returns the probabilities."""
        stock, softmax = family.eager_attention_forward, torch.nn.functional.softmax

        def eager_attention_forward(module, *args, **kwargs):
            here = f"model.layers.{module.layer_idx}.self_attn"

            def seen(scores, *rest, **named):
                # Masks add the lowest finite number; in a recording, masked scores are -inf.
                barred = scores <= torch.finfo(scores.dtype).min / 2
                self.take(f"{here}.scores", scores.masked_fill(barred, float("-inf")))  # [b, heads, s, t]
                return softmax(scores, *rest, **named)

            with mock.patch.object(torch.nn.functional, "softmax", seen):
                output, probs = stock(module, *args, **kwargs)
            self.take(f"{here}.probs", probs)
            return output, probs

        return mock.patch.object(family, "eager_attention_forward", eager_attention_forward)


def open_model(path, dtype, attention):
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PretrainedConfig

    # Some versions reject heads that do not divide the width, although the model runs if head_dim is given.
    model_type = PretrainedConfig.get_config_dict(path)[0].get("model_type")
    family = CONFIG_MAPPING[model_type] if model_type in CONFIG_MAPPING else None
    if checks := getattr(family, "__class_validators__", None):
        checks[:] = [check for check in checks if check.__name__ != "validate_architecture"]
    return AutoModelForCausalLM.from_pretrained(path, dtype=DTYPES[dtype], attn_implementation=attention).eval()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", help="a Hugging Face directory or name")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--prompt", metavar="TEXT")
    what.add_argument("--ids", metavar="1,2,3", type=lambda text: [int(number) for number in text.split(",")])
    add("--out", type=Path, required=True, metavar="FILE", help="a .safetensors file")
    add("--dtype", choices=DTYPES, default="f32")
    add("--attention", choices=("eager", "sdpa"), default="eager")
    return parser.parse_args()


def main():
    options = arguments()
    try:
        model = open_model(options.model, options.dtype, options.attention)
        ids = options.ids
        if ids is None:
            from transformers import AutoTokenizer

            ids = AutoTokenizer.from_pretrained(options.model)(options.prompt).input_ids
        with torch.inference_mode(), record(options.out) as recorder:
            model(torch.tensor([ids]), use_cache=False)
    except (OSError, ValueError, RuntimeError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(f"error: {options.model}: {reason}\nhint: use a Llama-family directory, and ids of its vocabulary", file=sys.stderr)
        sys.exit(2)
    print(f"{options.out}: {len(recorder.tensors)} tensors for {len(ids)} tokens", file=sys.stderr)


if __name__ == "__main__":
    main()
