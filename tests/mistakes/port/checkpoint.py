"""Reads a model's config and weights from a directory with config.json and model.safetensors."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


@dataclass(frozen=True)
class Config:
    """The parameters of a Llama."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    theta: float
    tied: bool

    @property
    def group(self):
        """The number of query heads for each key head."""
        return self.heads // self.kv_heads


@dataclass(frozen=True)
class Checkpoint:
    """The config, and every tensor of the file as float32."""

    config: Config
    tensors: dict


def read(folder):
    """Reads the checkpoint in `folder`."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] != "llama":
        raise ValueError(f"{folder}: model_type is {config['model_type']!r}, not 'llama'")
    tensors = load_file(folder / "model.safetensors")
    return Checkpoint(
        Config(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            heads=config["num_attention_heads"],
            kv_heads=config["num_key_value_heads"],
            head_dim=config["head_dim"],
            eps=config["rms_norm_eps"],
            theta=config["rope_parameters"]["rope_theta"],
            tied=config["tie_word_embeddings"],
        ),
        {name: tensor.astype(np.float32) for name, tensor in tensors.items()},
    )
