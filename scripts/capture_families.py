#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.15.0",
#     "transformers==5.23.0",
#     "gguf==0.19.0",
#     "accelerate==1.15.0",
#     "tokenizers==0.23.3",
#     "safetensors==0.8.0",
#     "numpy==2.4.6",
#     "jinja2==3.1.6",
# ]
# ///
"""Captures the references of the models that scripts/make_families.py makes, as capture_reference.py does for others.

    uv run scripts/capture_families.py                          every model, every part
    uv run scripts/capture_families.py tiny-llama3 short        one case (or: tokens, greedy, sampling, facts)
    uv run scripts/capture_families.py --prove                  are the patches transformers' own arithmetic?

capture/ names the modules and functions of Llama. Other families have the same ones under other names; a `Family`
gives them Llama's. A model such as tiny-qwen2:q8_0 has the dequantised weights of a GGUF file, and references for products
with its blocks as well. What a family adds (norms of q and k, a window) is here; what Gemma does differently is in
gemma.py.
"""

import argparse
import hashlib
import importlib
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

import capture_reference  # sets the environment, and explains a missing package
import gemma
import gguf
import numpy as np
import torch
from capture import arithmetic, facts, generation, models, prove, quantized, reference, taps, tokens
from capture.cases import Case
from capture.files import Trouble, sha256_file, write_json, write_npz
from capture.noise import measure
from capture.texts import CREATION, SAMPLING, TOKENS
from make_families import (
    FIXTURES, GEMMA, QUANTIZED, architecture_of, as_llama_cpp_has_it, config_of, folder_of, gguf_of, head_dim_of, own_names,
    relaxed, rope_of)
from transformers import AutoModelForCausalLM

SHORT = dict(prompts=["And the LORD said, Go"])
BATCH = dict(prompts=["And the king", "And the king said,", "And the"], pad="left")  # 3, 5, 2: row 0 too is padded
WIDE = dict(prompts=["And the king said, Go", "And the LORD said unto Moses, Go", "And the"], pad="left")  # past a window
LONG = dict(prompts=[CREATION], cut=100, tail=4)  # past the original context of a scaled rotation, and past a window

CATALOGUE = {
    "tiny-llama3": {"short": SHORT, "batch-left": BATCH, "long": LONG},
    "tiny-linear": {"short": SHORT, "long": LONG},
    "tiny-qwen2": {"short": SHORT, "batch-left": BATCH, "long": LONG},
    "tiny-qwen3": {"short": SHORT, "batch-left": BATCH, "long": LONG},
    "tiny-mistral": {"short": SHORT, "batch-left": WIDE, "long": LONG},
    "tiny-gemma2": {"short": SHORT, "batch-left": WIDE, "long": LONG},
    "tiny-gemma3": {"short": SHORT, "batch-left": WIDE, "long": LONG},
    **{name: {"short": SHORT} for name in QUANTIZED},
}
PARTS = ("tokens", "greedy", "sampling", "facts")  # the last has hashes of the others

GREEDY = ["And God said,", "In the beginning", "The king of"]
SETTINGS = ("t0.7", "k5", "p0.9", "m0.1", "r1.3", "t1.5-k40-p0.9", "b-t3-k5")


class Family:
    """transformers' module of a family, with its classes under Llama's names: LlamaRMSNorm is Qwen3RMSNorm."""

    def __init__(self, model_type):
        name = model_type.removesuffix("_text")
        module = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
        prefix = next(name for name in vars(module) if name.endswith("ForCausalLM")).removesuffix("ForCausalLM")
        self.__dict__.update(_module=module, _prefix=prefix)

    def _own(self, name):
        return name.replace("Llama", self._prefix)

    def __getattr__(self, name):
        return getattr(self._module, self._own(name))

    def __setattr__(self, name, value):
        setattr(self._module, self._own(name), value)

    def __delattr__(self, name):
        delattr(self._module, self._own(name))


@contextmanager
def of_family(model):
    """Inside, capture/ patches and taps the modules of this model's family."""
    family, swap = Family(model.config.model_type), mock.patch.object
    tapped = with_head_norms(taps.tapped)
    more = gemma.different(tapped) if model.is_gemma else swap(taps, "tapped", tapped)
    with (
        swap(arithmetic, "llama", family), swap(taps, "llama", family), swap(prove, "llama", family),
        swap(quantized, "gguf_name", own_names(model.config)), swap(facts, "_agrees_with_gguf", lambda *_: None),
        swap(arithmetic, "inverse_frequencies", model.frequencies(arithmetic.inverse_frequencies)),
        swap(prove, "Case", lambda name, ids: windowed(model)(name, ids, window=model.window)), more,
    ):
        yield


def with_head_norms(tapped):
    """`tapped`, and a tap at each norm of queries and keys, [b, s, heads * head_dim]."""

    def see(tap, site, output, heads_first):  # [b, s, heads, head_dim], or [b, heads, s, head_dim]
        split = output.transpose(1, 2) if heads_first else output
        flat = tap(site, split.flatten(2))  # maybe a copy: what the tap overwrites, the model must go on with
        split.copy_(flat.unflatten(2, split.shape[2:]))
        return output

    @contextmanager
    def more(model, order, tap):
        handles = []
        for number, layer in enumerate(model.model.layers):
            for name in ("q_norm", "k_norm"):
                if norm := getattr(layer.self_attn, name, None):
                    site, heads_first = f"model.layers.{number}.self_attn.{name}", model.config.model_type == "gemma3_text"
                    handles.append(norm.register_forward_hook(
                        lambda _module, _inputs, output, site=site: see(tap, site, output, heads_first)))
        try:
            with tapped(model, order, tap):
                yield
        finally:
            for handle in handles:
                handle.remove()

    return more


@dataclass
class Windowed(Case):
    """A case of a model whose queries see only the last `window` keys."""

    window: int | None = None

    @property
    def allowed(self):
        """As `Case.allowed`, and key j is visible to query i only if i - j < window."""
        allowed = super().allowed
        if self.window is None:
            return allowed
        slots = torch.arange(allowed.shape[-1])
        return allowed & (slots[:, None] - slots < self.window)


class ByLayer(Windowed):
    """A case of a model in which only some layers have the window."""

    @property
    def allowed(self):
        """As `Case.allowed`: what the window bars is barred by the layers themselves."""
        return Case.allowed.fget(self)

    def additive_mask(self, dtype):
        """The masks of both types of layer, as transformers' models take them."""
        of = lambda allowed: torch.zeros(allowed.shape, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)[:, None]
        return {"full_attention": of(self.allowed), "sliding_attention": of(Windowed.allowed.fget(self))}


def windowed(model):
    """The class of the model's cases."""
    return ByLayer if model.is_gemma else Windowed


class Model(models.Model):
    """A model of any family in CATALOGUE."""

    def __init__(self, name):
        self.name, self.path, self.is_gguf = name, FIXTURES / name, False
        if not (self.path / "config.json").is_file():
            raise Trouble(f"no model at {self.path}", "run scripts/make_families.py")
        self.stock = AutoModelForCausalLM.from_pretrained(
            self.path, dtype=torch.float32, attn_implementation="eager").eval()
        self.config = self.stock.config
        self.config.head_dim = head_dim_of(self.config)  # Qwen 2 has no such key
        self._in_dtype = {"f32": self.stock}
        self.tokenizer = tokens.from_directory(self.path)

    def frequencies(self, stock):
        """The function of rotary module and dtype that gives the frequencies: capture/'s own."""
        return stock

    @property
    def is_gemma(self):
        return self.config.model_type in GEMMA

    @property
    def window(self):
        return getattr(self.config, "sliding_window", None)

    def provenance(self, command):
        """As for other models, but the hash is that of capture/ and of the scripts about families."""
        own = [Path(__file__), *(Path(__file__).with_name(name) for name in ("gemma.py", "make_families.py"))]
        hashes = models.script_sha256() + "".join(map(sha256_file, own))
        return super().provenance(command) | {"capture_script_sha256": hashlib.sha256(hashes.encode()).hexdigest()}


class Quantized(Model):
    """A model whose weights are those of a GGUF file, dequantised by the package `gguf`. transformers reads such files too,
    but not all settings of these families, so the config is that of make_families.py."""

    def __init__(self, name):
        self.name, self.path, self.is_gguf = name, gguf_of(name), True
        if not self.path.is_file():
            raise Trouble(f"no model at {self.path}", "run scripts/make_families.py")
        self.config = config_of(name)
        self.own_name = own_names(self.config)
        stored = {tensor.name: tensor for tensor in gguf.GGUFReader(self.path).tensors}
        self.stock = AutoModelForCausalLM.from_config(self.config, dtype=torch.float32, attn_implementation="eager").eval()
        self.config = self.stock.config
        self.config.head_dim = head_dim_of(self.config)
        for hf, weight in self.stock.named_parameters():
            tensor = stored[self.own_name(hf)]
            data = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(weight.shape)
            weight.data = torch.from_numpy(self.as_hugging_face_has_it(hf, data))
        self._in_dtype = {"f32": self.stock}
        self.tokenizer = tokens.from_gguf(self.path)

    def frequencies(self, stock):
        """Those of the file's own divisors, which are rounded to float32, where it has some."""
        divisors = next((t.data for t in gguf.GGUFReader(self.path).tensors if t.name == "rope_freqs.weight"), None)
        if divisors is None:
            return stock

        def of_file(rotary, dtype):
            with mock.patch.object(torch, "float", dtype):
                inv_freq, scaling = rotary.compute_default_rope_parameters(rotary.config)
            return inv_freq / torch.tensor(np.array(divisors)).to(dtype), scaling  # [head_dim / 2]

        return of_file

    def as_hugging_face_has_it(self, name, data):
        """Undoes what llama.cpp's converter does, which is a permutation of rows or a constant."""
        own, places = self.own_name(name), np.arange(data.size, dtype=np.float32).reshape(data.shape)
        moved = as_llama_cpp_has_it(self.config, name, own, places)
        if self.is_gemma and data.ndim == 1:
            return data - (moved - places)
        back = np.empty_like(data)
        back.reshape(-1)[moved.astype(np.int64).reshape(-1)] = data.reshape(-1)
        return back


def open_model(name):
    return Quantized(name) if name in QUANTIZED else Model(name)


def make_case(model, name, prompts, cut=None, **rest):
    ids = [tokens.ids_of(model, prompt)[:cut] for prompt in prompts]
    return windowed(model)(name, ids, list(prompts), pad_id=0, window=model.window, **rest)


def facts_of(model, directory, provenance):
    """facts.json: as for a Llama, and what tells the families apart."""
    with mock.patch.object(model.config, "rope_parameters", model.config.rope_parameters | rope_of(model.config)):
        written = facts.facts(model, directory, provenance)  # reads θ at the top
    rope = dict(rope_of(model.config))
    rope.pop("rope_theta")
    if model.is_gemma:
        config = model.config
        local = config.rope_parameters.get("sliding_attention")
        scalar = config.query_pre_attn_scalar
        written["config"] |= {
            "layer_types": config.layer_types,
            "local_rope_theta": local and local["rope_theta"],
            "query_pre_attn_scalar": None if scalar == config.head_dim else scalar,
            "attn_logit_softcapping": config.attn_logit_softcapping,
            "final_logit_softcapping": config.final_logit_softcapping,
        }
    written["config"] |= {
        # A GGUF file does not tell a Mistral from a Llama.
        "model_type": "llama" if model.is_gguf and architecture_of(model.config) == "llama" else model.config.model_type,
        "rope_scaling": None if rope["rope_type"] == "default" else rope,
        "sliding_window": model.window,
        # The modules of a layer whose product a bias is added to.
        "biases": sorted(
            name.removeprefix("model.layers.0.").removesuffix(".bias")
            for name, _ in model.stock.named_parameters()
            if name.startswith("model.layers.0.") and name.endswith(".bias")),
    }
    return written


def capture(model, part):
    """One part of fixtures/<model>: a case, or one of PARTS."""
    directory = folder_of(model.name)
    provenance = model.provenance(f"python scripts/capture_families.py {model.name} {part}")
    if part == "facts":
        write_json(directory / "facts.json", facts_of(model, directory, provenance))
    elif part == "tokens":
        write_json(directory / "tokens.json", tokens.table(model, TOKENS[:8], [], provenance))
    elif part == "greedy":
        write_json(directory / "greedy.json", generation.greedy(model, GREEDY, provenance))
    elif part == "sampling":
        case = make_case(model, "short", **CATALOGUE[model.name]["short"])
        truth = reference.truth_of(model, case)
        logits = truth.get("lm_head.softcap", truth["lm_head"])[-1]
        settings = {key: SAMPLING[key] for key in SETTINGS}
        table, arrays = generation.sampling(model, logits, case.ids[0], settings, provenance)
        write_npz(directory / "sampling.npz", arrays)
        write_json(directory / "sampling.json", table)
    else:
        case = make_case(model, part, **CATALOGUE[model.name][part])
        truth = reference.truth_of(model, case)
        noise, blocks = measure(model, [case], [truth])[0], reference.quantized_of(model, [case], [truth])[0]
        reference.write_case(model, case, directory / part, provenance, truth, noise, blocks)
    if part in ("tokens", "greedy", "sampling"):
        facts.refresh(directory)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", nargs="?", help=f"of {', '.join(CATALOGUE)}; none means all")
    add("parts", nargs="*", help="cases, or tokens, greedy, sampling, facts; none means all")
    add("--prove", action="store_true", help="compare the patched functions with transformers' own")
    options = parser.parse_args()
    torch.set_num_threads(1)
    relaxed()
    for name in [options.model] if options.model else CATALOGUE:
        if name not in CATALOGUE:
            raise Trouble(f"no model {name}", f"one of {', '.join(CATALOGUE)}")
        known = [*PARTS, *CATALOGUE[name]]
        if unknown := [part for part in options.parts if part not in known]:
            raise Trouble(f"{name} has no `{unknown[0]}`", f"it has {', '.join(known)}")
        model = open_model(name)
        with of_family(model):
            if options.prove:
                print(name)
                prove.prove(model)
                continue
            for part in options.parts or known:
                capture_reference.say(f"capturing {name} {part}")
                capture(model, part)


if __name__ == "__main__":
    try:
        main()
    except Trouble as trouble:
        capture_reference.say(f"error: {trouble}\nhint: {trouble.hint}")
        sys.exit(2)
