"""Hashes of what a tokenizer consists of: tokens, merges, special tokens, chat template.

`src/tokenizer/identity.rs` computes the same. Run as a program, it adds them to facts.json of models:

    python -m capture.vocabulary ../fixtures/tiny-llama …       (in scripts/)
"""

import hashlib
import json
import pathlib
import sys

CONTROL = (2, 3)  # tokenizer.ggml.token_type: unknown, and control


def _lines(lines):
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _hashes(tokens, merges, special, template):
    """`tokens` by id, `merges` as pairs, ids of `special` tokens."""
    return {
        "vocabulary": _lines(f"{id}\t{token}" for id, token in sorted(tokens.items())),
        "merges": _lines(f"{left}\t{right}" for left, right in merges),
        "special_tokens": _lines(sorted(special)),
        "chat_template": None if template is None else hashlib.sha256(template.encode()).hexdigest(),
    }


def of_directory(path):
    """Those of a Hugging Face directory; None if it has no tokenizer.json."""
    if not (path / "tokenizer.json").is_file():
        return None
    read = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    model, added = read["model"], read.get("added_tokens", [])
    tokens = {id: token for token, id in model["vocab"].items()} | {token["id"]: token["content"] for token in added}
    merges = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
    template = None
    if (path / "chat_template.jinja").is_file():
        template = (path / "chat_template.jinja").read_text(encoding="utf-8")
    elif (path / "tokenizer_config.json").is_file():
        template = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    return _hashes(tokens, merges, {token["id"] for token in added if token["special"]}, template)


def of_gguf(path):
    """Those of a GGUF file with a byte-level BPE."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    value = lambda key: fields[f"tokenizer.{key}"].contents() if f"tokenizer.{key}" in fields else None
    tokens, kinds = value("ggml.tokens"), value("ggml.token_type")
    special = {id for id, kind in enumerate(kinds) if kind in CONTROL}
    return _hashes(dict(enumerate(tokens)), [merge.split(" ", 1) for merge in value("ggml.merges")], special, value("chat_template"))


def main():
    for name in sys.argv[1:]:
        folder, _, gguf = name.partition("=")
        path = pathlib.Path(folder)
        facts = json.loads((path / "facts.json").read_text(encoding="utf-8"))
        hashes = of_gguf(gguf) if gguf else of_directory(path)
        # Before the tensors, which are many.
        written = {}
        for key, value in facts.items():
            if key == "tensors":
                written["tokenizer"] = hashes
            written[key] = value
        from .files import write_json

        write_json(path / "facts.json", written)


if __name__ == "__main__":
    main()
