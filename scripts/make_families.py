#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.15.0",
#     "transformers==5.23.0",
#     "tokenizers==0.23.3",
#     "gguf==0.19.0",
#     "accelerate==1.15.0",
#     "numpy==2.4.6",
# ]
# ///
"""Makes the tiny models of other families and settings in fixtures/: made-up weights, no training.

    uv run scripts/make_families.py                 # all; or name some: tiny-llama3, ...
    python scripts/make_families.py                 # the same, in a venv with the versions above

Writes fixtures/<model>/{config,generation_config,tokenizer,tokenizer_config}.json, model.safetensors (f16) and
gguf/<model>-f16.gguf; of a model with quantised weights, such as tiny-qwen2:q8_0, only
fixtures/tiny-qwen2-q8_0/tiny-qwen2-q8_0.gguf. The tokenizer is that of tiny-llama. The weights are random numbers from a fixed seed, so
two runs with the same versions give identical files. scripts/capture_families.py then captures the references.

The models generate nonsense. Their weights are chosen so that every part of a family shows: biases are about as
large as the products that they are added to, the weights of norms are far from 1, and the frequencies of a scaled
rotation include fast, blended and slow pairs.
"""

import argparse
import json
import shutil
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM
from train_tiny import add_tokenizer

FIXTURES = Path(__file__).parents[1] / "fixtures"

COMMON = dict(
    vocab_size=512, num_hidden_layers=2, max_position_embeddings=512, bos_token_id=0, eos_token_id=[0, 2],
    hidden_act="silu")

# All widths of a model differ, and so do theta and eps from the usual values.
MODELS = {
    # Llama 3.1: the original context of 64 tokens leaves two fast pairs, two blended ones and eight slow ones.
    # Llama 3.1 itself has no biases; the class has the settings.
    "tiny-llama3": dict(
        model_type="llama", hidden_size=64, head_dim=24, num_attention_heads=6, num_key_value_heads=2,
        intermediate_size=112, rms_norm_eps=2e-5, tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
        rope_parameters=dict(
            rope_type="llama3", rope_theta=5e3, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=64)),
    "tiny-linear": dict(
        model_type="llama", hidden_size=48, head_dim=16, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=80, rms_norm_eps=4e-5, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="linear", rope_theta=2e4, factor=4.0)),
    # The heads of Qwen 2 divide its width.
    "tiny-qwen2": dict(
        model_type="qwen2", hidden_size=96, num_attention_heads=6, num_key_value_heads=2, intermediate_size=136,
        rms_norm_eps=6e-6, tie_word_embeddings=False, use_sliding_window=False,
        rope_parameters=dict(rope_type="default", rope_theta=3e5)),
    "tiny-qwen3": dict(
        model_type="qwen3", hidden_size=64, head_dim=20, num_attention_heads=6, num_key_value_heads=2,
        intermediate_size=112, rms_norm_eps=7e-6, tie_word_embeddings=False, use_sliding_window=False,
        rope_parameters=dict(rope_type="default", rope_theta=2e5)),
    "tiny-mistral": dict(
        model_type="mistral", hidden_size=56, head_dim=18, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=96, rms_norm_eps=3e-6, tie_word_embeddings=False, sliding_window=5,
        rope_parameters=dict(rope_type="default", rope_theta=2e4)),
    # The caps are about as large as the scores and logits. Layers 0 and 2 have the window.
    "tiny-gemma2": dict(
        model_type="gemma2", hidden_size=48, head_dim=20, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=72, num_hidden_layers=3, rms_norm_eps=5e-6, sliding_window=5, query_pre_attn_scalar=12,
        attn_logit_softcapping=4.0, final_logit_softcapping=14.0,
        rope_parameters=dict(rope_type="default", rope_theta=3e4)),
    # Layer 2 has no window, another theta, and a scaled rotation.
    "tiny-gemma3": dict(
        model_type="gemma3_text", hidden_size=40, head_dim=18, num_attention_heads=6, num_key_value_heads=3,
        intermediate_size=76, num_hidden_layers=4, rms_norm_eps=2e-6, sliding_window=5, sliding_window_pattern=3,
        query_pre_attn_scalar=14,
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", rope_theta=4e5, factor=8.0),
            sliding_attention=dict(rope_type="default", rope_theta=2e4))),
}
GEMMA = ("gemma2", "gemma3_text")

# A row of Q8_0 has a multiple of 32 weights, which the widths above are not. The last layer of both Gemmas is of
# the type that the first is not. A GGUF file of the architecture llama does not state a window, so there is none.
WIDTHS = dict(hidden_size=64, head_dim=16, num_attention_heads=6, num_key_value_heads=2, intermediate_size=160)
QUANTIZED = {
    "tiny-llama3:q8_0": WIDTHS,
    "tiny-qwen2:q8_0": dict(hidden_size=96, intermediate_size=160),
    "tiny-qwen3:q8_0": WIDTHS,
    "tiny-mistral:q8_0": WIDTHS | dict(sliding_window=None),
    "tiny-gemma2:q8_0": WIDTHS | dict(num_hidden_layers=2),
    "tiny-gemma3:q8_0": WIDTHS | dict(num_hidden_layers=2, sliding_window_pattern=2),
}


def settings_of(name):
    """The config's settings of a model in MODELS or QUANTIZED."""
    settings = COMMON | MODELS[name.partition(":")[0]] | QUANTIZED.get(name, {})
    if settings["model_type"] in GEMMA:
        del settings["hidden_act"]  # the family has its own function, under another key
    return settings


def config_of(name):
    return AutoConfig.for_model(**settings_of(name))


def folder_of(name):
    return FIXTURES / name.replace(":", "-")  # no colon in a path: Windows has none


def gguf_of(name):
    """Where the model's GGUF file is."""
    folder = folder_of(name)
    return folder / f"{folder.name}.gguf" if name in QUANTIZED else folder / "gguf" / f"{name}-f16.gguf"


def say(*what):
    print(*what, file=sys.stderr, flush=True)


def made_up(config, seed):
    """A model of this config with random weights, rounded to f16."""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    normal = lambda shape: torch.randn(shape, generator=generator)
    for name, weight in model.named_parameters():
        if name.endswith(".bias"):  # small where it would be added to every token of the residual stream
            value = (0.2 if name.endswith(("o_proj.bias", "down_proj.bias")) else 0.6) * normal(weight.shape)
        elif "norm" in name:  # far from 1, and of both signs
            value = 0.2 + 1.6 * torch.rand(weight.shape, generator=generator)
            value[::5] *= -1
            if config.model_type in GEMMA:  # whose norms multiply by 1 + w
                value -= 1
        elif name == "model.embed_tokens.weight":
            value = 0.5 * normal(weight.shape)
        elif name == "lm_head.weight":
            value = 3 * normal(weight.shape) / weight.shape[1] ** 0.5
        else:  # [out, in]
            value = 1.2 * normal(weight.shape) / weight.shape[1] ** 0.5
        weight.data = value.half().float()
    return model


def rope_of(config):
    """The parameters of the rotation; in Gemma 3, those of the layers without a window."""
    return config.rope_parameters.get("full_attention", config.rope_parameters)


def head_dim_of(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def llama3_divisors(config):
    """[head_dim / 2]: what llama.cpp's converter writes to rope_freqs.weight."""
    rope = config.rope_parameters
    base = rope["rope_theta"] ** (-np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim)
    turns = rope["original_max_position_embeddings"] * base / (2 * np.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return 1 / ((1 - smooth) / rope["factor"] + smooth)


def own_names(config):
    """A function from Hugging Face's name of a tensor to llama.cpp's."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture_of(config).upper()], config.num_hidden_layers)
    return lambda name: names.get_name(name, try_suffixes=(".weight", ".bias"))


def architecture_of(config):
    return dict(mistral="llama", gemma3_text="gemma3").get(config.model_type, config.model_type)


def as_llama_cpp_has_it(config, name, own, data):
    """llama.cpp's converter permutes the rows of q and k of a Llama, and adds 1 to the weights of Gemma's norms."""
    if architecture_of(config) == "llama" and ("attn_q." in own or "attn_k." in own):
        halves = data.reshape(-1, 2, head_dim_of(config) // 2, *data.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(data.shape))
    return data + 1 if config.model_type in GEMMA and name.endswith("norm.weight") else data


def stored(data, kind):
    """What a GGUF file contains: norms and biases are float32 in each."""
    if data.ndim == 1:
        return data, gguf.GGMLQuantizationType.F32
    return gguf.quantize(data, kind), kind


def write_gguf(name, config, tensors, tokenizer):
    """Writes a GGUF like llama.cpp's converter: its names, norms and biases in F32."""
    architecture, head_dim = architecture_of(config), head_dim_of(config)
    kind = gguf.GGMLQuantizationType.Q8_0 if name in QUANTIZED else gguf.GGMLQuantizationType.F16
    w = gguf.GGUFWriter(gguf_of(name), architecture)
    w.add_name(name)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if name in QUANTIZED else gguf.LlamaFileType.MOSTLY_F16)
    w.add_vocab_size(config.vocab_size)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_block_count(config.num_hidden_layers)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    w.add_head_count_kv(config.num_key_value_heads)
    w.add_key_length(head_dim)
    w.add_value_length(head_dim)
    w.add_rope_dimension_count(head_dim)
    rope, gemma = rope_of(config), config.model_type in GEMMA
    w.add_rope_freq_base(rope["rope_theta"])
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    if gemma:
        w.add_sliding_window(config.sliding_window)
        # llama.cpp takes the head's width: it has no key for the scale of a Gemma, so that it ignores this one.
        w.add_attention_scale(config.query_pre_attn_scalar**-0.5)
    if config.model_type == "gemma2":
        w.add_attn_logit_softcapping(config.attn_logit_softcapping)
        w.add_final_logit_softcapping(config.final_logit_softcapping)
    if config.model_type == "gemma3_text":
        w.add_sliding_window_pattern(settings_of(name)["sliding_window_pattern"])
        w.add_rope_freq_base_swa(config.rope_parameters["sliding_attention"]["rope_theta"])
    if rope["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_divisors(config).astype(np.float32))
    add_tokenizer(w, "tiny-llama", dict(bos_token_id=config.bos_token_id), tokenizer)
    own_name = own_names(config)
    for hf, tensor in tensors.items():
        own = own_name(hf)
        data, dtype = stored(as_llama_cpp_has_it(config, hf, own, tensor.float().numpy()), kind)
        w.add_tensor(own, data, raw_dtype=dtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make(name):
    out, settings = folder_of(name), settings_of(name)
    out.mkdir(parents=True, exist_ok=True)
    config = config_of(name)
    model = made_up(config, zlib.crc32(name.encode()))
    if name not in QUANTIZED:
        model.generation_config.eos_token_id = settings["eos_token_id"]
        model.half().save_pretrained(out)
        (out / "model.safetensors").chmod(0o644)  # it is written readable by its owner only
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(FIXTURES / "tiny-llama" / file, out / file)
        written = json.loads((out / "config.json").read_text())
        (out / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    tied = config.tie_word_embeddings
    tensors = {k: v for k, v in model.state_dict().items() if not (tied and k == "lm_head.weight")}
    gguf_of(name).parent.mkdir(exist_ok=True)
    write_gguf(name, config, tensors, Tokenizer.from_file(str(FIXTURES / "tiny-llama/tokenizer.json")))
    say(f"{name}: {sum(t.numel() for t in tensors.values())} weights")


def relaxed():
    """transformers 5 refuses a width that the heads do not divide, although a model with head_dim runs."""
    from transformers import Gemma2Config, Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

    for config in (Gemma2Config, Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config):
        config.__class_validators__[:] = [
            check for check in config.__class_validators__ if check.__name__ != "validate_architecture"]


KNOWN = [*MODELS, *QUANTIZED]


def main():
    p = argparse.ArgumentParser(description="Make the tiny models of other families.")
    p.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(KNOWN)} (default: all)")
    args = p.parse_args()
    for name in args.models:
        if name not in KNOWN:
            p.error(f"no model {name!r}")
    relaxed()
    for name in args.models or KNOWN:
        make(name)


if __name__ == "__main__":
    main()
