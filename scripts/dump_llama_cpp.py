#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["llama-cpp-python>=0.3.20", "numpy", "safetensors>=0.4"]
# ///
"""Records what llama.cpp computes: one forward pass of a .gguf, with every site, to one file. Known architectures:
llama (Mistral too), qwen2, qwen3, gemma2, gemma3.

    python dump_llama_cpp.py MODEL.gguf --prompt TEXT --out dump.safetensors
    python dump_llama_cpp.py MODEL.gguf --prompt TEXT --out DIR --steps 5      the prompt, then five greedy tokens

With --steps, each pass is written to DIR/pass-N.safetensors, with the keys and values that it found in its cache.

Names, shapes and metadata follow docs/dump-format.md. The first pass runs on the CPU, with an empty cache and all
tokens in one batch, with keys and values in float32 and without flash attention, so that scores exist. Notes
on the values:

- llama.cpp scales and masks inside its softmax. This script computes `scores` from llama.cpp's `kq`, with the
  scale and the mask that llama.cpp passes to softmax.
- In a file of the architecture llama, q and k have neighbouring elements as rotated pairs: the metadata says
  `layout: interleaved`. In the others, the halves of a head are rotated, as in Hugging Face's layout.
- Products with quantised weights round the other operand to 8 bits in blocks; products with f16 and bf16
  weights round it to their dtype. The metadata keys `arithmetic` and `dtype` say so, according to the types
  of the weights that were multiplied with. A .gguf in F32 uses float32 arithmetic throughout.
"""

import argparse
import ctypes
import os
import re
import struct
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

try:
    from llama_cpp import llama_cpp as lib
except (ImportError, RuntimeError, OSError):
    try:
        import xllamacpp_library as lib  # the same functions, from another wheel
    except (ImportError, RuntimeError, OSError) as missing:
        print(f"error: {missing}\nhint: pip install llama-cpp-python, or xllamacpp", file=sys.stderr)
        sys.exit(2)

# ggml's name before the layer number (and its operation, where a name occurs twice) -> site.
OF_LAYER = {
    "attn_norm": "input_layernorm",
    "Qcur MUL_MAT": "self_attn.q_proj", "Kcur MUL_MAT": "self_attn.k_proj", "Vcur MUL_MAT": "self_attn.v_proj",
    "Qcur ADD": "self_attn.q_proj", "Kcur ADD": "self_attn.k_proj", "Vcur ADD": "self_attn.v_proj",  # with a bias
    "Qcur ROPE": "self_attn.q_rope", "Kcur ROPE": "self_attn.k_rope",
    "kq": "self_attn.scores",  # not masked yet, and in some architectures not scaled: see `scaled`
    "kq_soft_max": "self_attn.probs",
    "kqv_out": "self_attn.context", "attn_out": "self_attn.o_proj",
    "ffn_inp": "post_attention_layernorm.input", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_out": "mlp.down_proj",
    "ffn_gate_b": "mlp.gate_proj", "ffn_up_b": "mlp.up_proj",  # with a bias: later than the product, which they replace
    "ffn_swiglu": "mlp.act", "ffn_gate_par": "mlp.act",  # the second is the name in older versions
    "l_out": "",
}
# Gemma 2 and 3: what differs. Their `ffn_norm` is another norm, their `kq` is not yet capped.
OF_GEMMA_LAYER = {name: kind for name, kind in OF_LAYER.items() if name != "ffn_inp"} | {
    "kq_scaled_2": "self_attn.scores",  # after the softcap
    "attn_post_norm": "post_attention_layernorm", "sa_out": "pre_feedforward_layernorm.input",
    "ffn_norm": "pre_feedforward_layernorm", "ffn_geglu": "mlp.act", "ffn_post_norm": "post_feedforward_layernorm",
}
HEAD_NORMS = {"Qcur_normed": "self_attn.q_norm", "Kcur_normed": "self_attn.k_norm"}
OUTSIDE = {"inp_embd": "model.embed_tokens", "embd": "model.embed_tokens",
           "result_norm": "model.norm", "result_output": "lm_head"}
OUTSIDE_GEMMA = {"inp_scaled": "model.embed_tokens", "result_norm": "model.norm", "result_output": "lm_head"}
OF_WEIGHT = re.compile(r"(?:blk\.(\d+)\.attn_output|output|token_embd)\.weight")
POST_NORM = re.compile(r"blk\.(\d+)\.post_ffw_norm\.weight")
OVER_KEYS = ("self_attn.scores", "self_attn.probs")
BY_HEAD = ("self_attn.q_rope", "self_attn.k_rope")
F32, F16, BF16 = 0, 1, 30  # ggml's types
FLASH_ATTENTION_OFF = 0
NEIGHBOURS = 0  # llama.cpp's rope type for pairs (2i, 2i + 1)
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3")


class Tensor(ctypes.Structure):
    """struct ggml_tensor, up to and including its name."""


Tensor._fields_ = [
    ("type", ctypes.c_int), ("buffer", ctypes.c_void_p), ("ne", ctypes.c_int64 * 4), ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int), ("op_params", ctypes.c_int32 * 16), ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(Tensor) * 10), ("view_src", ctypes.c_void_p), ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p), ("name", ctypes.c_char * 64),
]
op_name, is_quantized = lib._lib.ggml_op_name, lib._lib.ggml_is_quantized
op_name.restype, op_name.argtypes = ctypes.c_char_p, [ctypes.c_int]
is_quantized.restype, is_quantized.argtypes = ctypes.c_bool, [ctypes.c_int]


class Names:
    """The sites of llama.cpp's tensors in a model of this architecture."""

    def __init__(self, architecture):
        gemma = architecture in ("gemma2", "gemma3")
        self.of_layer = OF_GEMMA_LAYER if gemma else OF_LAYER
        if architecture in ("qwen3", "gemma3"):
            self.of_layer = self.of_layer | HEAD_NORMS
        self.outside = OUTSIDE_GEMMA if gemma else OUTSIDE
        if architecture == "gemma2":  # the product itself has no name, but its weight has
            self.outside = self.outside | {"result_output": "lm_head.softcap"}

    def site_of(self, tensor):
        """The site that this tensor belongs to, or None."""
        name, op = tensor.name.decode(), op_name(tensor.op).decode()
        # Some products and norms have no name, or none with a number: their weights say what they are.
        if op == "MUL_MAT" and (weight := OF_WEIGHT.fullmatch(source(tensor, 0))):
            return f"model.layers.{weight[1]}.self_attn.o_proj" if weight[1] else "lm_head"
        if name == "ffn_post_norm" and (weight := POST_NORM.fullmatch(source(tensor, 1))):
            name = f"{name}-{weight[1]}"
        stem, dash, layer = name.rpartition("-")
        if not dash or not layer.isdecimal():
            return self.outside.get(name)
        kind = self.of_layer.get(stem, self.of_layer.get(f"{stem} {op}"))
        return None if kind is None else f"model.layers.{layer}.{kind}".rstrip(".")

    def missing(self, sites):
        """The kinds of site that this architecture's tables name, and none of `sites` is."""
        kinds = {(site.split(".", 3) + [""])[3] if site.startswith("model.layers.") else site for site in sites}
        return sorted({*self.of_layer.values(), *self.outside.values()} - kinds)


def source(tensor, number):
    """The name of a tensor's operand."""
    operand = tensor.src[number]
    return operand.contents.name.decode() if operand else ""


def array_of(tensor):
    """A copy as a numpy array: ggml's first dimension is the innermost, numpy's the outermost."""
    dtype = {F32: np.float32, F16: np.float16}.get(tensor.type)
    if dtype is None:
        raise ValueError(f"{tensor.name.decode()} has ggml type {tensor.type}, which is not f32 or f16")
    shape, strides = tuple(tensor.ne)[::-1], tuple(tensor.nb)[::-1]
    size = sum((n - 1) * stride for n, stride in zip(shape, strides)) + np.dtype(dtype).itemsize
    flat = np.frombuffer(ctypes.string_at(tensor.data, size), np.uint8)
    return np.ndarray(shape, dtype, flat, strides=strides).astype(np.float32)  # [1, ...]


def scaled(kq, softmax):
    """kq · scale + mask, with the arguments of the softmax that consumes kq. [1, heads, s, cells]"""
    scale, max_bias = struct.unpack("ff", struct.pack("ii", *softmax.op_params[:2]))
    if max_bias:
        raise ValueError("attention with ALiBi is not supported: its scores are computed differently")
    mask = array_of(softmax.src[1].contents)[..., : kq.shape[-2], :]  # [1, 1, s, cells]
    return kq * np.float32(scale) + mask


def cached(tensor, past):
    """The first `past` slots of the keys, or of the values, that this product reads. [1, kv_heads, past, head_dim]"""
    array = array_of(tensor.src[0].contents)
    # Values are transposed: the product sums over slots.
    array = array if tensor.name.startswith(b"kq-") else array.swapaxes(-1, -2)
    return np.ascontiguousarray(array[..., :past, :])


class Recorder:
    """The tensors of the present pass, by site. `past` tokens are cached before it; `length` counts them too."""

    def __init__(self, architecture):
        self.names, self.weights, self.trouble = Names(architecture), set(), None
        self.begin(0, 0)

    def begin(self, past, length):
        self.past, self.length, self.tensors = past, past + length, {}

    def seen(self, pointer, ask, _):
        """llama.cpp calls this to ask whether we want a tensor, and again when the tensor is computed."""
        try:
            tensor = ctypes.cast(pointer, ctypes.POINTER(Tensor)).contents
            site, of_cache = self.names.site_of(tensor), self.of_cache(tensor)
            if ask:
                return site is not None or of_cache is not None
            if site is not None:
                self.take(site, tensor)
            if of_cache is not None:
                self.tensors[of_cache] = cached(tensor, self.past)
            return True
        except Exception as error:  # no exception may propagate into C
            self.trouble = self.trouble or error
            return False

    def of_cache(self, tensor):
        """The name of the cached keys or values that this product reads, or None."""
        stem, _, layer = tensor.name.decode().rpartition("-")
        what = {"kq": "past_key", "kqv": "past_value"}.get(stem)
        product = op_name(tensor.op) == b"MUL_MAT" and layer.isdecimal()
        return f"model.layers.{layer}.self_attn.{what}" if self.past and what and product else None

    def take(self, site, tensor):
        kind, array = site.split(".", 3)[-1], array_of(tensor)
        if site.endswith(("_proj", "lm_head")) and op_name(tensor.op) == b"MUL_MAT":
            self.weights.add(tensor.src[0].contents.type)
        if kind == "self_attn.probs":
            scores = site.replace("probs", "scores")
            # [1, heads, s, t]: the cache has more cells than tokens
            self.tensors[scores] = np.ascontiguousarray(scaled(self.tensors[scores], tensor)[..., : self.length])
            array = array[..., : self.length]
        elif kind in BY_HEAD:
            array = array.swapaxes(1, 2)  # [1, s, heads, head_dim] -> [1, heads, s, head_dim]
        elif kind in HEAD_NORMS.values():
            array = array.reshape(1, array.shape[1], -1)  # [1, s, heads, head_dim] -> [1, s, width]
        elif kind not in OVER_KEYS:
            array = array.reshape(1, array.shape[-2], array.shape[-1])  # [1, s, width]
        self.tensors[site] = np.ascontiguousarray(array)


def run(path, ids_of, threads, steps, see):
    """Runs the prompt, then `steps` greedy tokens, and calls `see` with the ids and the recorder after each pass.
    `ids_of` makes the ids from the model's vocabulary. Returns the recorder."""
    quiet = lib.llama_log_callback(lambda *_: None)
    lib.llama_log_set(quiet, None)
    lib.llama_backend_init()
    params = lib.llama_model_default_params()
    params.n_gpu_layers = 0
    model = lib.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise ValueError("llama.cpp cannot load this file")
    vocab = lib.llama_model_get_vocab(model)
    width, ids = lib.llama_vocab_n_tokens(vocab), ids_of(vocab)
    if not ids or any(not 0 <= token < width for token in ids):
        raise ValueError(f"no tokens, or ids outside the vocabulary of {width}")

    recorder = Recorder(architecture_of(model))
    recorder.interleaved = lib.llama_model_rope_type(model) == NEIGHBOURS
    callback = lib.ggml_backend_sched_eval_callback(recorder.seen)
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = max(len(ids) + steps, 32)
    params.n_threads = params.n_threads_batch = threads
    params.type_k = params.type_v = F32
    params.flash_attn_type = FLASH_ATTENTION_OFF
    params.offload_kqv = params.op_offload = False
    params.cb_eval = callback
    context = lib.llama_init_from_model(model, params)
    if not context:
        raise ValueError("llama.cpp cannot create a context for this model")
    past = 0
    for _ in range(1 + steps):
        recorder.begin(past, len(ids))
        decode(context, ids, past)
        if recorder.trouble:
            raise recorder.trouble
        see(ids, recorder)
        past += len(ids)
        logits = np.ctypeslib.as_array(lib.llama_get_logits(context), (len(ids), width))
        ids = [int(logits[-1].argmax())]
    lib.llama_free(context)
    lib.llama_model_free(model)
    return recorder


def architecture_of(model):
    room = ctypes.create_string_buffer(64)
    lib.llama_model_meta_val_str(model, b"general.architecture", room, len(room))
    architecture = room.value.decode()
    if architecture not in ARCHITECTURES:
        raise ValueError(f"its architecture is `{architecture}`; this script knows the names of {', '.join(ARCHITECTURES)}")
    return architecture


def decode(context, ids, past):
    """Runs one pass over `ids`, the first at position `past`."""
    batch = lib.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        # logits of every row
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, past + i, 1, 1
        batch.seq_id[i][0] = 0
    status = lib.llama_decode(context, batch)
    lib.llama_batch_free(batch)
    if status != 0:
        raise ValueError(f"llama_decode returned {status}")


def tokenize(vocab, text):
    data, room = text.encode(), len(text.encode()) + 8
    ids = (lib.llama_token * room)()
    count = lib.llama_tokenize(vocab, data, len(data), ids, room, True, True)
    return list(ids[: max(count, 0)])


def arithmetic_of(weights):
    """The metadata for products with weights of these types."""
    said = {"dtype": "bf16" if BF16 in weights else "f16" if F16 in weights else "f32"}
    # Q8_0 and the types with 32 weights per block use activation blocks of 32; K types use 256.
    return said | ({"arithmetic": "quantized-32"} if any(map(is_quantized, weights)) else {})


def write(file, path, ids, recorder):
    positions = np.arange(recorder.past, recorder.length, dtype=np.int64)
    tensors = recorder.tensors | {"input_ids": np.array([ids], np.int64), "position_ids": positions[None]}
    metadata = {"format": "rbees-dump 1", "recorder": "dump_llama_cpp.py", "model": path.name,
                "attention": "eager"} | arithmetic_of(recorder.weights)
    if recorder.interleaved:
        metadata["layout"] = "interleaved"
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    try:
        save_file(tensors, partial, metadata)
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", type=Path, help="a .gguf of a known architecture")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--prompt", metavar="TEXT")
    what.add_argument("--ids", metavar="1,2,3", type=lambda text: [int(number) for number in text.split(",")])
    add("--out", type=Path, required=True, metavar="FILE", help="a .safetensors file; a directory, with --steps")
    add("--steps", type=int, metavar="N", help="record every pass: the prompt, then N greedy tokens; --out is a directory")
    add("--threads", type=int, default=1)
    return parser.parse_args()


def main():
    options = arguments()
    ids_of = lambda vocab: options.ids if options.ids is not None else tokenize(vocab, options.prompt)
    passes = []

    def see(ids, recorder):
        several = options.steps is not None
        write(options.out / f"pass-{len(passes)}.safetensors" if several else options.out, options.model, ids, recorder)
        passes.append(len(ids))

    try:
        recorder = run(options.model, ids_of, options.threads, options.steps or 0, see)
    except (OSError, ValueError) as error:
        print(f"error: {options.model}: {error}\nhint: use a .gguf file of a known architecture; see --help", file=sys.stderr)
        sys.exit(2)
    several = "" if options.steps is None else f" in each of {len(passes)} passes"
    print(f"{options.out}: {len(recorder.tensors)} tensors{several} for {sum(passes)} tokens", file=sys.stderr)
    if unseen := recorder.names.missing(recorder.tensors):
        print(f"note: this llama.cpp does not expose {', '.join(unseen)}", file=sys.stderr)


if __name__ == "__main__":
    main()
