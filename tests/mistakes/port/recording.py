"""Writes what a port computed as a recording: see docs/dump-format.md."""

import numpy as np
from safetensors import TensorSpec, serialize_file

SITES = (
    "input_layernorm self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.q_rope self_attn.k_rope "
    "self_attn.scores self_attn.probs self_attn.context self_attn.o_proj post_attention_layernorm.input "
    "post_attention_layernorm mlp.gate_proj mlp.up_proj mlp.act mlp.down_proj"
).split()

# What an attention kernel takes and returns, and the layer's output: five sites for each layer, and the logits.
SPARSE = ["self_attn.q_rope", "self_attn.k_rope", "self_attn.v_proj", "self_attn.context", ""]


def in_order(layers):
    """The names of all sites, in the order of the forward pass."""
    within = [site_of(layer, site) for layer in range(layers) for site in [*SITES, ""]]
    return ["model.embed_tokens", *within, "model.norm", "lm_head"]


def site_of(layer, site):
    """The full name of a site in a layer; "" is the layer's output."""
    return f"model.layers.{layer}.{site}".rstrip(".")


def sparse(layers):
    """The names of the sites of a sparse recording, in the order of the forward pass."""
    return [site_of(layer, site) for layer in range(layers) for site in SPARSE] + ["lm_head"]


def write(path, ids, sites, dtype):
    """Writes the token ids [s] and the sites, without their batch axis, as a safetensors file."""
    arrays = {"input_ids": np.array([ids], np.int64)}
    for name, x in sites.items():
        # numpy has no bfloat16: it is the upper half of a float32.
        upper_half = lambda x: (x.view(np.uint32) >> 16).astype(np.uint16)
        x = np.ascontiguousarray(x[None], np.float32)
        arrays[name] = upper_half(x) if dtype == "bf16" else x
    names = {np.dtype(np.int64): "int64", np.dtype(np.float32): "float32", np.dtype(np.uint16): "bfloat16"}
    specs = {
        name: TensorSpec(dtype=names[x.dtype], shape=x.shape, data_ptr=x.ctypes.data, data_len=x.nbytes)
        for name, x in arrays.items()
    }
    serialize_file(specs, path, {"format": "rbees-dump 1", "dtype": dtype, "attention": "eager"})
