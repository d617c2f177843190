"""llama.cpp's C interface, from the library in the wheel `xllamacpp`: what dump_llama_cpp.py and
compare_llama_cpp.py call, under the names that llama-cpp-python gives it.

llama.cpp passes its settings as structures whose layout changes between versions. This is the layout of one version
of the wheel; `check` compares the defaults in it with those that are documented, and refuses another one.
"""

import ctypes as C
import importlib.util
from pathlib import Path

VERSION = "2026.10.11549"
Pointer = C.c_void_p
llama_token = C.c_int32
ggml_backend_sched_eval_callback = C.CFUNCTYPE(C.c_bool, C.c_void_p, C.c_bool, C.c_void_p)
llama_log_callback = C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)


def fields(kind, names):
    return [(name, kind) for name in names.split()]


class llama_model_params(C.Structure):
    _fields_ = [
        *fields(Pointer, "devices tensor_buft_overrides"), *fields(C.c_int32, "n_gpu_layers split_mode load_mode lazy_mode main_gpu"),
        *fields(Pointer, "tensor_split progress_callback progress_callback_user_data kv_overrides"),
        *fields(C.c_bool, "vocab_only check_tensors use_extra_bufts no_host no_alloc"),
    ]


class llama_context_params(C.Structure):
    _fields_ = [
        *fields(C.c_uint32, "n_ctx n_batch n_ubatch n_seq_max n_rs_seq n_outputs_max n_outputs_max_per_seq"),
        *fields(C.c_int32, "n_threads n_threads_batch ctx_type rope_scaling_type pooling_type attention_type flash_attn_type"),
        *fields(C.c_float, "rope_freq_base rope_freq_scale yarn_ext_factor yarn_attn_factor yarn_beta_fast yarn_beta_slow"),
        ("yarn_orig_ctx", C.c_uint32), ("defrag_thold", C.c_float), ("cb_eval", ggml_backend_sched_eval_callback),
        ("cb_eval_user_data", Pointer), *fields(C.c_int, "type_k type_v"),
        *fields(Pointer, "abort_callback abort_callback_data ctx_other"),
        *fields(C.c_bool, "embeddings offload_kqv no_perf op_offload swa_full kv_unified"),
        ("samplers", Pointer), ("n_samplers", C.c_size_t),
    ]


class llama_batch(C.Structure):
    _fields_ = [
        ("n_tokens", C.c_int32), ("token", C.POINTER(C.c_int32)), ("embd", C.POINTER(C.c_float)),
        ("pos", C.POINTER(C.c_int32)), ("n_seq_id", C.POINTER(C.c_int32)),
        ("seq_id", C.POINTER(C.POINTER(C.c_int32))), ("logits", C.POINTER(C.c_int8)),
    ]


def _library():
    """The wheel's extension module: a shared library that exports llama.cpp's functions too."""
    found = importlib.util.find_spec("xllamacpp")
    if found is None:
        raise ImportError("no module named xllamacpp")
    [file] = Path(found.origin).parent.glob("xllamacpp*.so")
    return C.CDLL(str(file), mode=C.RTLD_GLOBAL)


def _declare(name, result, *arguments):
    function = getattr(_lib, name)
    function.restype, function.argtypes = result, arguments
    globals()[name] = function


_lib = _library()
_declare("llama_log_set", None, llama_log_callback, Pointer)
_declare("llama_backend_init", None)
_declare("llama_model_default_params", llama_model_params)
_declare("llama_model_load_from_file", Pointer, C.c_char_p, llama_model_params)
_declare("llama_model_free", None, Pointer)
_declare("llama_model_get_vocab", Pointer, Pointer)
_declare("llama_model_rope_type", C.c_int, Pointer)
_declare("llama_model_meta_val_str", C.c_int32, Pointer, C.c_char_p, C.c_char_p, C.c_size_t)
_declare("llama_vocab_n_tokens", C.c_int32, Pointer)
_declare("llama_tokenize", C.c_int32, Pointer, C.c_char_p, C.c_int32, C.POINTER(C.c_int32), C.c_int32, C.c_bool, C.c_bool)
_declare("llama_context_default_params", llama_context_params)
_declare("llama_init_from_model", Pointer, Pointer, llama_context_params)
_declare("llama_free", None, Pointer)
_declare("llama_batch_init", llama_batch, C.c_int32, C.c_int32, C.c_int32)
_declare("llama_batch_free", None, llama_batch)
_declare("llama_decode", C.c_int32, Pointer, llama_batch)
_declare("llama_get_logits", C.POINTER(C.c_float), Pointer)


def _check():
    """The defaults that llama.h documents, at the places where they are expected."""
    context, model = llama_context_default_params(), llama_model_default_params()
    seen = (context.n_ctx, context.n_batch, context.n_ubatch, context.n_seq_max, context.flash_attn_type, context.type_k,
            context.type_v, context.rope_freq_base, context.offload_kqv, context.n_samplers, model.main_gpu, model.use_extra_bufts)
    if seen != (512, 2048, 512, 1, -1, 1, 1, 0.0, True, 0, 0, True):
        raise ImportError(f"this version of xllamacpp has other structures: use {VERSION}")


_check()
