#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.4", "transformers>=4.56", "safetensors>=0.4"]
# ///
"""Records what a Hugging Face Llama computes: one forward pass, with every site, to one .safetensors file; or several
passes, to a directory.

    python dump_torch.py MODEL --prompt TEXT --out dump.safetensors [--dtype bf16] [--attention sdpa]
    python dump_torch.py MODEL --prompt TEXT --out DIR --steps 5      the prompt, then five greedy tokens

or in your own code, around any call of the model:

    from dump_torch import record
    with record("dump.safetensors"):
        model(ids)

`record()` without a file uses the one that RBEES_DUMP names, and does nothing if that is not set. Names,
shapes and metadata follow docs/dump-format.md. Every family whose modules have the same names as Llama's
works (Mistral, Qwen2, Qwen3, Gemma2, ...), with the modules that it adds to them. With sdpa there are no scores and
probabilities. The model continues with its own values; nothing is changed.

Only the first forward pass is recorded, unless RBEES_DUMP_PASSES (or `record(..., passes=...)`) says which: `3`,
`1-4`, `0,3` or `all`, counted from 0. Then RBEES_DUMP names a directory, and pass N is written to
DIR/pass-N.safetensors, with the keys and values that it found in its cache.

`record(..., unrecorded=True)`, or `--unrecorded`, runs a recorded pass with an empty cache again without the recorder,
and stores its logits beside the recorded ones. `unrecorded="sdpa"` runs it with that attention: a recording with
scores needs eager attention, which may not be what you use otherwise.
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
def record(file=None, passes=None, unrecorded=False):
    """Records the first forward pass of the first Llama that runs inside, or the `passes` that are named."""
    file = file or os.environ.get("RBEES_DUMP")
    if not file:
        yield None
        return
    recorder = Recorder(Path(file), passes_of(passes or os.environ.get("RBEES_DUMP_PASSES")), unrecorded)
    with ExitStack() as stack:
        recorder.wait_for_a_model(stack)
        yield recorder
    recorder.end()


def passes_of(text):
    """Which passes `3`, `1-4`, `0,3` or `all` names: a function of the number; None if there is no text."""
    if not text:
        return None
    if text == "all":
        return lambda number: True
    try:
        ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
        ranges = [range(part[0], part[-1] + 1) for part in ends]
    except ValueError:
        raise ValueError(f"RBEES_DUMP_PASSES is `{text}`, not a number, a range such as 1-4, or all") from None
    return lambda number: any(number in part for part in ranges)


class Recorder:
    """The tensors of one pass, by site; with `passes`, each of these is written as it ends."""

    def __init__(self, file, passes, unrecorded):
        self.file, self.passes, self.unrecorded = file, passes, unrecorded
        self.tensors, self.model, self.number, self.written, self.paused = {}, None, 0, 0, False

    def wants(self):
        """Is the present pass to be recorded?"""
        if self.paused:
            return False
        return self.number == 0 if self.passes is None else self.passes(self.number)

    def take(self, site, tensor):
        if self.wants():
            self.tensors.setdefault(site, tensor.detach().to("cpu", copy=True).contiguous())

    def end(self):
        """Checks that something was recorded, after the recorded block."""
        if self.model is None:
            raise RuntimeError("no model with `model.layers` and `lm_head` ran inside the recorded block")
        if not self.written:
            raise RuntimeError(f"no pass was recorded: {self.number} passes ran with token ids")

    def write(self, file):
        if "input_ids" not in self.tensors:
            raise RuntimeError("the model was called without token ids; a recording needs them")
        config = self.model.config
        names = {dtype: name for name, dtype in DTYPES.items()}
        metadata = {
            "format": "rbees-dump 1", "recorder": "dump_torch.py", "model": config._name_or_path or "",
            "dtype": names.get(self.model.dtype, str(self.model.dtype)), "attention": config._attn_implementation,
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.partial")
        try:
            save_file(self.tensors, partial, metadata)
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)
        self.written += len(self.tensors)

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
        # The first call of the outer model has begun already.
        hook(inner.register_forward_pre_hook(self._begin, with_kwargs=True))
        hook(self.model.register_forward_hook(self._end, with_kwargs=True))
        # The module that defines the family: modeling_llama, modeling_mistral, ...
        family = sys.modules[type(inner.layers[0].self_attn).__module__]
        names = ("apply_rotary_pos_emb", "eager_attention_forward")
        self.replaced = [(family, name, getattr(family, name)) for name in names if hasattr(family, name)]
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

    def _begin(self, _module, _inputs, named):
        """Records the cache before the pass changes it."""
        cache = named.get("past_key_values")
        if not self.wants() or cache is None or not cache.get_seq_length():
            return
        layers = getattr(cache, "layers", None)  # older versions have two lists of tensors
        pairs = [(layer.keys, layer.values) for layer in layers] if layers else zip(cache.key_cache, cache.value_cache)
        for number, (keys, values) in enumerate(pairs):  # [b, kv_heads, t, head_dim]
            self.take(f"model.layers.{number}.self_attn.past_key", keys)
            self.take(f"model.layers.{number}.self_attn.past_value", values)

    def _end(self, module, inputs, named, output):
        if self.paused:
            return
        if getattr(self.model.config, "final_logit_softcapping", None):
            self.take("lm_head.softcap", output.logits)
        mask = named.get("attention_mask")
        if isinstance(mask, torch.Tensor) and mask.dim() == 2:
            self.take("attention_mask", mask.long())
        if self.wants():
            if self.unrecorded and "model.layers.0.self_attn.past_key" not in self.tensors:
                self.tensors["unrecorded.logits"] = self._unrecorded(module, inputs, named)
            several = self.passes is not None
            self.write(self.file / f"pass-{self.number}.safetensors" if several else self.file)
            self.tensors = {}
        self.number += 1

    def _unrecorded(self, module, inputs, named):
        """The logits of the same pass, by the functions that run without the recorder."""
        self.paused = True
        try:
            with ExitStack() as stock:
                for owner, name, function in self.replaced:
                    stock.enter_context(mock.patch.object(owner, name, function))
                if isinstance(self.unrecorded, str):
                    stock.callback(module.set_attn_implementation, module.config._attn_implementation)
                    module.set_attn_implementation(self.unrecorded)
                again = module(*inputs, **named | {"use_cache": False, "past_key_values": None})
            return again.logits.detach().to("cpu", copy=True).contiguous()
        finally:
            self.paused = False

    def _positions(self, _module, inputs, named):
        positions = named.get("position_ids", inputs[1] if len(inputs) > 1 else None)  # [1 or b, s]
        if positions is not None and "input_ids" in self.tensors and self.wants():
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


def run(model, ids, steps):
    """The prompt; then, with a cache, `steps` greedy tokens, each in a pass of its own."""
    if steps is None:
        model(ids, use_cache=False)
        return
    out = model(ids, use_cache=True)
    for _ in range(steps):
        token = out.logits[:, -1:].argmax(-1)  # [1, 1]
        position = torch.tensor([[out.past_key_values.get_seq_length()]])
        out = model(token, position_ids=position, past_key_values=out.past_key_values, use_cache=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", help="a Hugging Face directory or name")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--prompt", metavar="TEXT")
    what.add_argument("--ids", metavar="1,2,3", type=lambda text: [int(number) for number in text.split(",")])
    add("--out", type=Path, required=True, metavar="FILE", help="a .safetensors file; a directory, with --steps")
    add("--dtype", choices=DTYPES, default="f32")
    add("--attention", choices=("eager", "sdpa"), default="eager")
    add("--steps", type=int, metavar="N", help="record every pass: the prompt, then N greedy tokens; --out is a directory")
    add("--unrecorded", nargs="?", const=True, metavar="ATTENTION",
        help="store the logits of the same pass without the recorder, too; with this attention, if it is another")
    return parser.parse_args()


def main():
    options = arguments()
    try:
        model = open_model(options.model, options.dtype, options.attention)
        ids = options.ids
        if ids is None:
            from transformers import AutoTokenizer

            ids = AutoTokenizer.from_pretrained(options.model)(options.prompt).input_ids
        passes = None if options.steps is None else "all"
        with torch.inference_mode(), record(options.out, passes, options.unrecorded) as recorder:
            run(model, torch.tensor([ids]), options.steps)
    except (OSError, ValueError, RuntimeError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(f"error: {options.model}: {reason}\nhint: use a Llama-family directory, and ids of its vocabulary", file=sys.stderr)
        sys.exit(2)
    passes = "" if options.steps is None else f" in {recorder.number} passes"
    print(f"{options.out}: {recorder.written} tensors{passes} for {len(ids)} tokens", file=sys.stderr)


if __name__ == "__main__":
    main()
