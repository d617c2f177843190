"""Recordings of ports with planted deviations, and what is known about them without the program under test."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from port import checkpoint, recording
from port.llama import Llama

FIXTURES = Path(__file__).parents[3] / "fixtures"
ULP = {"f32": 2.0**-23, "bf16": 2.0**-7}


@dataclass(frozen=True)
class Setting:
    """How and where deviations are planted, and what is recorded."""

    dtype: str = "f32"
    taps: str = "all"
    layer: int | None = None  # None: in every layer
    prompt: str = "short"

    def flags(self):
        """The arguments of score.py that repeat it."""
        where = "--everywhere" if self.layer is None else f"--layer {self.layer}"
        return f"--dtype {self.dtype} --taps {self.taps} {where} --prompt {self.prompt}"


@dataclass(frozen=True)
class Planted:
    """What one wrong port computed."""

    sites: dict  # the recorded sites
    first: str | None  # the first recorded site that is not equal to the correct port's, bit by bit
    effect: float  # the largest error there, in ulps of the largest value of its row
    noise: float  # the largest rounding error of the correct port there, in the same unit; 0 in float32


@cache
def model(name):
    return checkpoint.read(FIXTURES / name)


@cache
def prompt(name, of):
    """The token ids of a stored case of the model, or as many pseudo-random ids as `of` says."""
    if of.isdigit():
        vocabulary = len(model(name).tensors["model.embed_tokens.weight"])
        return np.random.default_rng(3).integers(3, vocabulary, int(of)).tolist()
    manifest = json.loads((FIXTURES / name / of / "manifest.json").read_text(encoding="utf-8"))
    if len(manifest["ids"]) != 1:
        raise ValueError(f"--prompt {of}: a recording of a batch is not supported")
    return manifest["ids"][0]


@cache
def correct(name, dtype, of):
    """Every site of the correct port."""
    return Llama(model(name), dtype).forward(prompt(name, of))


def kept(sites, taps):
    """The sites that are recorded, in the order of the forward pass."""
    layers = 1 + max(int(name.split(".")[2]) for name in sites if name.startswith("model.layers."))
    wanted = {"all": recording.in_order, "sparse": recording.sparse}[taps](layers)
    return {name: sites[name] for name in recording.in_order(layers) if name in sites and name in wanted}


def plant(deviation, setting):
    """Runs a port with this deviation."""
    port = Llama(model(deviation.model), setting.dtype)
    deviation.plant(port, setting.layer)
    with np.errstate(all="ignore"):  # a wrong port may overflow
        sites = port.forward(prompt(deviation.model, setting.prompt))
    right = correct(deviation.model, setting.dtype, setting.prompt)
    sites = kept(sites, setting.taps)
    different = (name for name, x in sites.items() if not np.array_equal(x, right[name], equal_nan=True))
    first = next(different, None)
    if first is None:
        return Planted(sites, None, 0.0, 0.0)
    exact = correct(deviation.model, "f32", setting.prompt)
    effect, noise = (error(of[first], than[first]) for of, than in [(sites, right), (right, exact)])
    return Planted(sites, first, effect / ULP[setting.dtype], noise / ULP[setting.dtype])


def error(got, right):
    """The largest difference, relative to the largest value of its row; ∞ if other values are finite."""
    finite = np.isfinite(right)
    if not np.array_equal(finite, np.isfinite(got)):
        return float("inf")
    scale = np.abs(right).max(-1, keepdims=True, initial=0, where=finite)
    difference = np.abs(np.subtract(got, right, where=finite, out=np.zeros_like(right)))
    return float((difference / np.maximum(scale, np.float32(1e-30))).max())
