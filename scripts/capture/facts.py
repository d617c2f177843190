"""Facts of a model that belong to no single case: its config, its tensors, and the files beside facts.json."""

import json

import numpy as np
from gguf import GGUFReader

from .files import Trouble, described, sha256_file, write_json
from . import vocabulary
from .names import gguf_name

FILES = ("tokens.json", "greedy.json", "sampling.json", "sampling.npz")


def facts(model, directory, provenance):
    """facts.json: the hash of every other file, the config, and every tensor's hash, as transformers reads them."""
    config = model.config
    tensors = {name: value.numpy() for name, value in model.stock.state_dict().items()}
    # transformers 5 does not tie two matrices with different values, whatever the config says.
    embedding, head = model.stock.get_input_embeddings().weight, model.stock.lm_head.weight
    tied = embedding.data_ptr() == head.data_ptr()
    if tied:
        del tensors["lm_head.weight"]  # the same tensor as model.embed_tokens.weight
    (_agrees_with_gguf if model.is_gguf else _agrees_with_safetensors)(model, tensors)
    return {
        "format": 2, "model": model.name, "files": hashes(directory),
        "config": {
            "hidden_size": config.hidden_size, "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.num_hidden_layers, "num_attention_heads": config.num_attention_heads,
            "num_key_value_heads": config.num_key_value_heads, "head_dim": config.head_dim,
            "vocab_size": config.vocab_size, "max_position_embeddings": config.max_position_embeddings,
            "rms_norm_eps": config.rms_norm_eps, "rope_theta": config.rope_parameters["rope_theta"],
            "tie_word_embeddings": tied, "bos_token_id": config.bos_token_id,
            "eos_token_ids": model.eos_token_ids,
        },
        "tokenizer": (vocabulary.of_gguf if model.is_gguf else vocabulary.of_directory)(model.path),
        "tensors": described({name: tensors[name] for name in sorted(tensors)}, "f4"),
        "provenance": provenance,
    }


def hashes(directory):
    """{file: SHA-256 of its bytes} of those of FILES that are there."""
    return {name: sha256_file(directory / name) for name in FILES if (directory / name).is_file()}


def refresh(directory):
    """After one of FILES was written: facts.json, where there is one, is given the hashes of what is there now."""
    path = directory / "facts.json"
    if path.is_file():
        write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"files": hashes(directory)})


def _agrees_with_safetensors(model, tensors):
    """A second reader of the same file must see the same bits."""
    from safetensors.numpy import load_file

    for shard in model.path.glob("*.safetensors"):
        for name, value in load_file(shard).items():
            if name in tensors and not np.array_equal(tensors[name], value.astype(np.float32)):
                raise Trouble(f"{name}: transformers and safetensors read different values", "do not trust this capture")


def _agrees_with_gguf(model, tensors):
    """gguf.quants must dequantise to the same bits, after undoing the permutation of q and k.

    llama.cpp stores the rows of q and k so that rope rotates neighbours; Hugging Face rotates halves.
    """
    from gguf.quants import dequantize

    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    mine = {t.name: t for t in GGUFReader(model.path).tensors}
    for name, value in tensors.items():
        stored = mine[gguf_name(name)]
        want = dequantize(stored.data, stored.tensor_type).reshape(value.shape).astype(np.float32)
        if n := heads.get(gguf_name(name).split(".")[-2]):
            rows, width = want.shape
            want = want.reshape(n, rows // n // 2, 2, width).swapaxes(1, 2).reshape(rows, width)
        if not np.array_equal(value, want):
            raise Trouble(f"{name}: transformers and gguf.quants read different values", "do not trust this capture")
