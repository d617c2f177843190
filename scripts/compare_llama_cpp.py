#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["xllamacpp==2026.10.11549", "gguf==0.19.0", "numpy", "safetensors>=0.4"]
# ///
"""Compares llama.cpp with this project on the GGUF files of the tiny models of each family.

    cargo build --release
    uv run scripts/compare_llama_cpp.py                       every family
    uv run scripts/compare_llama_cpp.py tiny-gemma2           one
    uv run scripts/compare_llama_cpp.py my.gguf --prompt TEXT your own file

For each file, three comparisons:

- ids: llama.cpp's of the prompt, and this project's.
- logits: llama.cpp's against those of this project's float64 oracle (`rbees-check record`), as a share of the row's
  largest logit. llama.cpp's own runs (the prompt in one batch, in two, and token by token) differ among themselves
  by what is printed next to it. Logits agree if they are not farther from the oracle than 4 times that, plus 4 units in
  the last place. (Flash attention is left out: it rounds probabilities to F16.)
- sites: llama.cpp's pass, recorded by dump_llama_cpp.py, must pass `rbees-check run all --dump`.

llama.cpp multiplies F16 weights with activations rounded to F16. So that only the order of summation differs, the
weights are first written as F32, which changes no value. `attention.scale`, which llama.cpp does not read for Gemma, is
left out: both sides then scale by the head's width.

In Gemma, llama.cpp takes GELU from a table of F16 numbers, on the CPU. So there, `mlp.act` must fail, with that mistake
named, and every other site must pass; logits are printed, and not judged. --f16 compares the file as it is; then only sites are judged,
because rounded activations are no order of summation.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import xllamacpp_library as lib
from safetensors.numpy import load_file

import dump_llama_cpp

REPOSITORY = Path(__file__).parents[1]
MODELS = ("tiny-llama3", "tiny-linear", "tiny-mistral", "tiny-qwen2", "tiny-qwen3", "tiny-gemma2", "tiny-gemma3")
PROMPT = "And the LORD said unto Moses, Go"
ULP = 2.0**-23


def as_floats(source, target):
    """The same model with every tensor in F32, and without a scale of the scores."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    left_out = ("general.architecture", f"{architecture}.attention.scale", "general.file_type")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in left_out:
            kind = field.types[0]
            writer.add_key_value(name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    """A model in llama.cpp."""

    def __init__(self, path):
        self.quiet = lib.llama_log_callback(lambda *_: None)
        lib.llama_log_set(self.quiet, None)
        lib.llama_backend_init()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = lib.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise SystemExit(f"error: llama.cpp cannot load {path}")
        self.vocab = lib.llama_model_get_vocab(self.model)
        self.architecture = dump_llama_cpp.architecture_of(self.model)

    def ids(self, text):
        return dump_llama_cpp.tokenize(self.vocab, text)

    def logits(self, ids, sizes):
        """[tokens, vocab], of a run in batches of these sizes."""
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = max(len(ids), 32)
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = dump_llama_cpp.F32
        params.flash_attn_type = dump_llama_cpp.FLASH_ATTENTION_OFF
        params.offload_kqv = params.op_offload = False
        context = lib.llama_init_from_model(self.model, params)
        if not context:
            raise SystemExit("error: llama.cpp cannot create a context for this model")
        width, start, rows = lib.llama_vocab_n_tokens(self.vocab), 0, []
        for size in sizes:
            dump_llama_cpp.decode(context, ids[start : start + size], start)
            rows.append(np.ctypeslib.as_array(lib.llama_get_logits(context), (size, width)).copy())
            start += size
        lib.llama_free(context)
        return np.concatenate(rows).astype(np.float64)


def runs_of(model, ids):
    half = len(ids) // 2
    return {
        "one batch": model.logits(ids, [len(ids)]), "two batches": model.logits(ids, [half, len(ids) - half]),
        "token by token": model.logits(ids, [1] * len(ids)),
    }


def farthest(a, b, scale):
    return float((np.abs(a - b).max(-1) / scale).max())


class Checker:
    """The program of this project."""

    def __init__(self, program):
        places = [REPOSITORY / "target" / kind / "rbees-check" for kind in ("release", "debug")]
        found = [program] if program else [place for place in places if place.is_file()]
        if not found:
            raise SystemExit("error: no rbees-check program\nhint: cargo build --release, or give --program")
        self.program = found[0]

    def run(self, *arguments):
        return subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True)

    def oracle(self, file, prompt, folder):
        """The ids of the prompt, and the logits of every token: [tokens, vocab]."""
        done = self.run("record", "--model", file, "--prompt", prompt, "-o", folder)
        if done.returncode:
            raise SystemExit(done.stderr)
        ids = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["ids"][0]
        with np.load(folder / "reference.npz") as stored:
            return ids, stored["lm_head.softcap"] if "lm_head.softcap" in stored else stored["lm_head"]


def compare(checker, name, file, prompt, place):
    """Prints one line per comparison; returns whether all hold."""
    ids, want = checker.oracle(file, prompt, place / "oracle")
    model = LlamaCpp(file)
    theirs = model.ids(prompt)
    same = ids == theirs
    print(f"{name:<12} ids     {len(ids)} tokens, {'the same' if same else f'llama.cpp has {theirs}, this project {ids}'}")
    runs, scale = runs_of(model, ids), np.abs(want).max(-1)
    noise = max(farthest(a, b, scale) for a in runs.values() for b in runs.values())
    error = max(farthest(run, want, scale) for run in runs.values())
    agrees = error <= 4 * noise + 4 * ULP
    gelu = "gemma" in model.architecture
    said = "agree" if agrees else "differ, as GELU does" if gelu else "DIFFER"
    print(f"{name:<12} logits  {said}: {error:.1e} of the largest logit from the oracle; "
          f"llama.cpp's own runs differ by {noise:.1e}")
    return same & (agrees or gelu) & sites(checker, name, file, ids, place, gelu)


def sites(checker, name, file, ids, place, gelu=False):
    """Records a pass of llama.cpp and judges it. With a table for GELU, the activations must fail and nothing else."""
    dump, done = place / "dump.safetensors", []
    see = lambda these, recorder: done.append(dump_llama_cpp.write(dump, file, these, recorder))
    dump_llama_cpp.run(file, lambda _: ids, 1, 0, see)
    count = sum(not site.endswith("_ids") for site in load_file(dump))
    judged = checker.run("run", "all", "--dump", dump, "--model", file, "--report", f"json={place / 'report.json'}")
    last = [line for line in judged.stdout.splitlines() if line.startswith("checkpoints:")]
    report = json.loads((place / "report.json").read_text(encoding="utf-8"))
    findings = [finding for checkpoint in report["checkpoints"] for finding in checkpoint["findings"]]
    wrong = [finding["about"] for finding in findings if finding["status"] == "failed"]
    named = set(re.findall(r"^ +suspect +([a-z-]+):", judged.stdout, re.M))
    if gelu:
        good = judged.returncode == 1 and all(site.endswith("mlp.act") for site in wrong) and named == {"act-half"}
    else:
        good = judged.returncode == 0
    what = f"; {len(wrong)} wrong: {wrong[0]} ..., named {', '.join(sorted(named))}" if wrong else ""
    print(f"{name:<12} sites   {count} recorded; {last[0] if last else judged.stderr.strip()}{what}")
    if not good:
        print(judged.stdout)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("models", nargs="*", default=MODELS, metavar="MODEL", help=f"of {', '.join(MODELS)}, or a .gguf file (default: all)")
    add("--prompt", default=PROMPT, metavar="TEXT")
    add("--f16", action="store_true", help="the file as it is, with its own arithmetic")
    add("--program", type=Path, metavar="FILE", help="rbees-check (default: in target/)")
    options = parser.parse_args()
    checker, good = Checker(options.program), True
    for name in options.models:
        file = Path(name) if name.endswith(".gguf") else REPOSITORY / f"fixtures/{name}/gguf/{name}-f16.gguf"
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            if options.f16:
                good &= sites(checker, file.stem, file, LlamaCpp(file).ids(options.prompt), place)
                continue
            floats = place / f"{file.stem}.f32.gguf"
            as_floats(file, floats)
            good &= compare(checker, file.stem.removesuffix("-f16"), floats, options.prompt, place)
    print(f"xllamacpp {lib.VERSION}: {'everything agrees' if good else 'something differs'}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
