"""Weights from a Hugging Face directory or a GGUF file."""

import copy
import hashlib
import os
import platform
from functools import cached_property
from pathlib import Path

import torch
import transformers
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, LlamaConfig

from . import tokens
from .files import Trouble, sha256_file
from .quantized import Blocks

REPOSITORY = Path(__file__).resolve().parents[2]
# transformers 5 refuses heads that do not divide the width, though with head_dim given (as in Mistral-Nemo,
# and in tiny-llama on purpose) the model runs: its own forward pass reads head_dim.
LlamaConfig.__class_validators__[:] = [
    check for check in LlamaConfig.__class_validators__ if check.__name__ != "validate_architecture"]

TORCH_DTYPES = {"f64": torch.float64, "f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


class Model:
    """A Llama from `path`, in any dtype, with its tokenizer."""

    def __init__(self, name, path):
        self.name, self.path = name, Path(path)
        self.is_gguf = self.path.suffix == ".gguf"
        if not (self.path.is_file() if self.is_gguf else (self.path / "config.json").is_file()):
            raise Trouble(f"no model at {self.path}", "a .gguf file, or a directory with config.json and safetensors")
        where = {"gguf_file": self.path.name} if self.is_gguf else {}
        # Always say dtype: without it transformers takes what the file or the config says.
        try:
            stock = AutoModelForCausalLM.from_pretrained(
                self.path.parent if self.is_gguf else self.path, dtype=torch.float32, attn_implementation="eager", **where)
        except Exception as error:  # whatever a broken file makes the readers raise
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise Trouble(f"transformers cannot load {self.path}: {reason[0]}", "is the file whole, and a Llama?") from error
        if stock.config.model_type != "llama":
            raise Trouble(f"{self.path} is a `{stock.config.model_type}`, not a llama", "only that family has taps")
        self.stock = stock.eval()  # float32, as transformers gives it
        self.config = stock.config
        self._in_dtype = {"f32": self.stock}
        self.tokenizer = tokens.from_gguf(self.path) if self.is_gguf else tokens.from_directory(self.path)

    def at(self, dtype):
        """The model in a dtype. `.to` rounds rope's inv_freq too, which is why arithmetic.py never reads it."""
        if dtype not in self._in_dtype:
            self._in_dtype[dtype] = copy.deepcopy(self.stock).to(TORCH_DTYPES[dtype])
        return self._in_dtype[dtype]

    @cached_property
    def blocks(self):
        """How a quantised file stores its matrices; None where they are floats."""
        if not self.is_gguf:
            return None
        blocks = Blocks(self)
        return blocks if blocks.is_quantized else None

    @property
    def eos_token_ids(self):
        """Of a GGUF file, every end that it names: transformers reads `eos` alone and would run past a turn's end."""
        eos = self.stock.generation_config.eos_token_id
        ends = [] if eos is None else list(eos) if isinstance(eos, (list, tuple)) else [eos]
        if self.is_gguf:
            fields = GGUFReader(self.path).fields
            named = [fields.get(f"tokenizer.ggml.{end}_token_id") for end in ("eos", "eot", "eom")]
            ends = sorted({*ends, *(int(field.contents()) for field in named if field)})
        return ends

    def provenance(self, command):
        """Where a fixture comes from. Nothing here may change from run to run on one machine."""
        if self.is_gguf:
            weights = config = tokenizer = sha256_file(self.path)  # one file carries all three
        else:
            shards = sorted(self.path.glob("*.safetensors"))
            weights = "+".join(sha256_file(shard) for shard in shards)
            config = sha256_file(self.path / "config.json")
            tokenizer = sha256_file(self.path / "tokenizer.json")
        return {
            "weights_sha256": weights, "config_sha256": config, "tokenizer_sha256": tokenizer,
            "capture_script_sha256": script_sha256(), "transformers": transformers.__version__,
            "torch": torch.__version__.split("+")[0], "python": platform.python_version(),
            "attention": "eager, patched to float64",
            "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads",
            "command": command,
        }


def script_sha256():
    """Of all the script's files, concatenated: the entry, then capture/*.py by name."""
    files = [REPOSITORY / "scripts/capture_reference.py", *sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def smollm2_path():
    cache = os.environ.get("RBEES_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rbees-check"
    path = Path(cache) / "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.is_file():
        raise Trouble(f"no weights at {path}", "run scripts/fetch_smollm2.sh")
    return path
