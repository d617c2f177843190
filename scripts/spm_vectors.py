#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["xllamacpp==2026.10.11549", "gguf==0.19.0", "numpy"]
# ///
"""Writes tests/spm_vectors.json: the ids that llama.cpp gives to texts with SentencePiece vocabularies of several settings.

    uv run scripts/spm_vectors.py

llama.cpp's own test vocabularies have one of this kind, Llama 2's. Gemma's files put no space in front of a text, and
contain runs of spaces and line ends as tokens that are matched before anything else. So this takes the vocabulary of
fixtures/tiny-llama2/gguf/tiny-llama2-f16.gguf, with these settings changed.
"""

import json
import random
import tempfile
from pathlib import Path

import gguf
import xllamacpp_library as lib

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "fixtures/tiny-llama2/gguf/tiny-llama2-f16.gguf"
TARGET = REPOSITORY / "tests/spm_vectors.json"
USER_DEFINED = 4

# What each variant changes: metadata, tokens (id -> text, of the type "user defined"), and scores (a function of the id).
VARIANTS = {
    "as_llama_2": {},
    "no_space_in_front": {"tokenizer.ggml.add_space_prefix": False},
    "as_gemma": {"tokenizer.ggml.add_space_prefix": False, "user_defined": {481: "\n\n", 482: "▁▁", 483: "▁▁▁▁", 484: "<start_of_turn>"}},
    "equal_scores": {"scores": "equal in groups of 8"},
    "no_bos": {"tokenizer.ggml.add_bos_token": False},
}
TEXTS = [
    "", " ", "  ", "   ", "    ", "     ", "\n", "\n\n", "\n\n\n", "\t", "Hello world", " Hello world", "Hello  world", "Hello world ",
    "And the LORD said unto Moses,", "the the  the   the    the", "aaaaaaaaaaa", "eeee ssss tttt", "1 12 123 1234 12345", "3.14159",
    "Ünïcödé", "é e\u0301", "日本語", "🦙🦙", "a\u00a0b", "▁ ▁▁", "<s>", "</s>", "<unk>", "<0x0A>", "a<s>b", "<start_of_turn>user\nHi",
    "x<start_of_turn>y", " <start_of_turn> ", "\r\n", "\u200b", "\u0000", "it's they'll I've", "(a, b) = f(x); // c", "\n \n  \n   \n",
]


def more_texts():
    draw = random.Random(0)
    letters = "aeehnorst  ▁\n\nLORDé🦙1"
    return ["".join(draw.choice(letters) for _ in range(draw.randint(1, 30))) for _ in range(60)]


def write(target, change):
    reader = gguf.GGUFReader(SOURCE)
    writer = gguf.GGUFWriter(target, "llama")
    defined = change.get("user_defined", {})
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = change.get(name, field.contents())
        if name == "tokenizer.ggml.tokens":
            value = [defined.get(n, token) for n, token in enumerate(value)]
        if name == "tokenizer.ggml.token_type":
            value = [USER_DEFINED if n in defined else kind for n, kind in enumerate(value)]
        if name == "tokenizer.ggml.scores" and "scores" in change:
            value = [float(-(n // 8)) for n in range(len(value))]
        kind = field.types[0]
        writer.add_key_value(name, value, kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ids_of(path, texts):
    params = lib.llama_model_default_params()
    params.vocab_only = True
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    vocab = lib.llama_model_get_vocab(model)

    def ids(text):
        data = text.encode()
        found = (lib.llama_token * (len(data) + 8))()
        # With BOS if the file asks for it; the texts of control tokens are these tokens, as in other tokenizers.
        count = lib.llama_tokenize(vocab, data, len(data), found, len(found), True, True)
        return list(found[:count])

    found = [ids(text) for text in texts]
    lib.llama_model_free(model)
    return found


def main():
    quiet = lib.llama_log_callback(lambda *_: None)
    lib.llama_log_set(quiet, None)
    lib.llama_backend_init()
    texts, written = TEXTS + more_texts(), {}
    with tempfile.TemporaryDirectory() as folder:
        for name, change in VARIANTS.items():
            path = Path(folder) / f"{name}.gguf"
            write(path, change)
            written[name] = {"changed": change, "ids": ids_of(path, texts)}
    lines = [f"    {json.dumps(name)}: {json.dumps(variant, ensure_ascii=False)}" for name, variant in written.items()]
    made = f"xllamacpp {lib.VERSION}"
    TARGET.write_text(f'{{\n  "made_with": "{made}",\n  "texts": {json.dumps(texts, ensure_ascii=False)},\n  "variants": {{\n'
                      + ",\n".join(lines) + "\n  }\n}\n", encoding="utf-8")
    print(f"{TARGET}: {len(texts)} texts, {len(written)} variants")


if __name__ == "__main__":
    main()
