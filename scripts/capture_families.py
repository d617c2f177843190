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
gives them Llama's. What a family adds (norms of q and k, a window) is here.
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
import torch
from capture import arithmetic, facts, generation, models, prove, reference, taps, tokens
from capture.cases import Case
from capture.files import Trouble, sha256_file, write_json, write_npz
from capture.noise import measure
from capture.texts import CREATION, SAMPLING, TOKENS
from make_families import FIXTURES, head_dim_of, relaxed
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
}
PARTS = ("tokens", "greedy", "sampling", "facts")  # the last has hashes of the others

GREEDY = ["And God said,", "In the beginning", "The king of"]
SETTINGS = ("t0.7", "k5", "p0.9", "m0.1", "r1.3", "t1.5-k40-p0.9", "b-t3-k5")


class Family:
    """transformers' module of a family, with its classes under Llama's names: LlamaRMSNorm is Qwen3RMSNorm."""

    def __init__(self, model_type):
        module = importlib.import_module(f"transformers.models.{model_type}.modeling_{model_type}")
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
    with (
        swap(arithmetic, "llama", family), swap(taps, "llama", family), swap(prove, "llama", family),
        swap(prove, "Case", lambda name, ids: Windowed(name, ids, window=model.window)),
        swap(taps, "tapped", with_head_norms(taps.tapped)),
    ):
        yield


def with_head_norms(tapped):
    """`tapped`, and a tap at each norm of queries and keys, [b, s, heads * head_dim]."""

    @contextmanager
    def more(model, order, tap):
        handles = []
        for number, layer in enumerate(model.model.layers):
            for name in ("q_norm", "k_norm"):
                if norm := getattr(layer.self_attn, name, None):
                    site = f"model.layers.{number}.self_attn.{name}"
                    # A view: what the tap overwrites, the model goes on with.
                    see = lambda _module, _inputs, output, site=site: (tap(site, output.flatten(2)), output)[1]
                    handles.append(norm.register_forward_hook(see))
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

    @property
    def window(self):
        return getattr(self.config, "sliding_window", None)

    def provenance(self, command):
        """As for other models, but the hash is that of capture/ and of the two scripts about families."""
        own = [Path(__file__), Path(__file__).with_name("make_families.py")]
        hashes = models.script_sha256() + "".join(map(sha256_file, own))
        return super().provenance(command) | {"capture_script_sha256": hashlib.sha256(hashes.encode()).hexdigest()}


def make_case(model, name, prompts, cut=None, **rest):
    ids = [tokens.ids_of(model, prompt)[:cut] for prompt in prompts]
    return Windowed(name, ids, list(prompts), pad_id=0, window=model.window, **rest)


def facts_of(model, directory, provenance):
    """facts.json: as for a Llama, and what tells the families apart."""
    written = facts.facts(model, directory, provenance)
    rope = dict(model.config.rope_parameters)
    rope.pop("rope_theta")
    written["config"] |= {
        "model_type": model.config.model_type,
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
    directory = FIXTURES / model.name
    provenance = model.provenance(f"python scripts/capture_families.py {model.name} {part}")
    if part == "facts":
        write_json(directory / "facts.json", facts_of(model, directory, provenance))
    elif part == "tokens":
        write_json(directory / "tokens.json", tokens.table(model, TOKENS[:8], [], provenance))
    elif part == "greedy":
        write_json(directory / "greedy.json", generation.greedy(model, GREEDY, provenance))
    elif part == "sampling":
        case = make_case(model, "short", **CATALOGUE[model.name]["short"])
        logits = reference.truth_of(model, case)["lm_head"][-1]
        settings = {key: SAMPLING[key] for key in SETTINGS}
        table, arrays = generation.sampling(model, logits, case.ids[0], settings, provenance)
        write_npz(directory / "sampling.npz", arrays)
        write_json(directory / "sampling.json", table)
    else:
        case = make_case(model, part, **CATALOGUE[model.name][part])
        truth = reference.truth_of(model, case)
        noise = measure(model, [case], [truth])[0]
        reference.write_case(model, case, directory / part, provenance, truth, noise, {})
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
        model = Model(name)
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
