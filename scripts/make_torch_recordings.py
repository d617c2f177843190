# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "torch==2.15.0"]
# ///
"""Writes tests/understood/torch/*.pt: files of torch.save for the tests of tests/understood/pickle.rs.

Each holds some sites of tiny-llama on the case `short`, as PyTorch saves them: plain, as views of larger storages, as
an ordered dict, as parameters, in bf16, and with something that is not a tensor.
"""

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent.parent
CASE = HERE / "fixtures/tiny-llama/short"
OUT = HERE / "tests/understood/torch"
LAYER = "model.layers.0."
SITES = ["model.embed_tokens", *(LAYER + name for name in ["input_layernorm", "self_attn.q_proj", "self_attn.q_rope"])]


def sites() -> dict[str, torch.Tensor]:
    """The sites, with heads before positions as a model computes them, without copying."""
    arrays = np.load(CASE / "reference.npz")
    tensors = {name: torch.from_numpy(arrays[name].astype("f4")) for name in SITES}
    for name, tensor in tensors.items():
        tensors[name] = tensor.transpose(0, 1)[None] if tensor.ndim == 3 else tensor[None]
    tensors["input_ids"] = torch.tensor(json.loads((CASE / "manifest.json").read_text())["ids"])
    return tensors


def main() -> None:
    OUT.mkdir(exist_ok=True)
    plain = sites()
    assert not plain[LAYER + "self_attn.q_rope"].is_contiguous()
    torch.save(plain, OUT / "plain.pt")
    torch.save(OrderedDict(plain), OUT / "ordered.pth")
    both = torch.stack([plain["model.embed_tokens"], plain[LAYER + "input_layernorm"]], dim=-1)
    views = {"model.embed_tokens": both[..., 0], LAYER + "input_layernorm": both[..., 1]}
    torch.save(plain | views, OUT / "views.pt")
    parameter = torch.nn.Parameter(plain["model.embed_tokens"])
    torch.save(plain | {"model.embed_tokens": parameter}, OUT / "parameter.pt")
    torch.save(plain | {"settings": {"heads": 6}}, OUT / "with_a_dict.pt")
    torch.save(plain, OUT / "old.pt", _use_new_zipfile_serialization=False)
    wrong = plain | {LAYER + "self_attn.q_proj": plain[LAYER + "self_attn.q_proj"] * 1.01}
    torch.save(wrong, OUT / "wrong.pt")


if __name__ == "__main__":
    main()
