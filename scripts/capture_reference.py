#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.15.0",
#     "transformers==5.23.0",
#     "gguf==0.19.0",
#     "accelerate==1.15.0",  # transformers wants it to read GGUF
#     "tokenizers==0.23.3",
#     "safetensors==0.8.0",
#     "numpy==2.4.6",
#     "jinja2==3.1.6",  # chat templates
# ]
# ///
"""Captures references: what PyTorch computes at every site of a Llama in float64, and how far it is off in f32.

    uv run scripts/capture_reference.py --all                  every fixture of this repository
    uv run scripts/capture_reference.py tiny-llama short       one case (or: tokens, greedy, sampling, facts)
    uv run scripts/capture_reference.py MODEL --prompt TEXT --out DIR
                                                               your own: a Hugging Face directory or a .gguf
    uv run scripts/capture_reference.py --prove                are the patches transformers' own arithmetic?

(or `python` in a venv with the versions above.) One prompt makes DIR a case; several, or a --prompts-file,
make DIR/000, DIR/001, ...; with --pad they are one padded batch. The tiny models are in fixtures/;
smollm2-135m is fetched by scripts/fetch_smollm2.sh. The files are described in fixtures/README.md.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ |= {"TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

try:
    import torch

    import capture.noise  # and with it the rest of the list above
except ImportError as missing:
    print(f"error: {missing}\nhint: `uv run scripts/capture_reference.py`, or pip install what its head lists", file=sys.stderr)
    sys.exit(2)

from capture import facts, generation, models, tokens
from capture.cases import Case
from capture.files import Trouble, write_json, write_npz
from capture.noise import DTYPES, measure
from capture.prove import prove
from capture.reference import quantized_of, truth_of, write_case
from capture.texts import CHAT, CHATS, CREATION, FRANCE, GENESIS, GREEDY, SAMPLING, SAMPLING_OF, TOKENS

# Every case of every fixture: a row a case. What a column leaves out is as in capture/cases.py.
CATALOGUE = {
    "tiny-llama": {  # all layers stored
        "single": dict(prompts=["\n"]),  # one token: position 0, where rope does nothing
        "short": dict(prompts=["<|im_start|>user\nAnd the LORD said, Go<|im_end|>\n"]),
        "batch-left": dict(prompts=["And the king", "And the king said,", "And the"], pad="left"),  # 3, 5, 2: row 0 too is padded
        "long": dict(prompts=[GENESIS], cut=300, tail=8),  # positions past 256
        "far": dict(prompts=[CREATION], cut=700, layers=[0, 3], blocks="before", tail=4),  # rows of keys past 600
    },
    "tiny-llama2": {
        "short": dict(prompts=["And \u00e9 the LORD God:"]),  # BOS, a leading space, two bytes
        "batch-right": dict(prompts=["And the king said", "the LORD", "God"], pad="right"),  # 5, 3, 2 with BOS
    },
    "tiny-llama:q8_0": {  # from fixtures/tiny-llama/gguf
        "short": dict(prompts=["<|im_start|>user\nAnd the LORD said, Go<|im_end|>\n"]),
        "batch-left": dict(prompts=["And the king", "And the king said,", "And the"], pad="left"),
    },
    "smollm2-135m": {  # 30 layers: a few complete, so that the fixture stays small
        "short": dict(prompts=[FRANCE], layers=[0, 1, 14, 29]),
        "chat": dict(messages=CHAT, layers=[0, 29], blocks="before", tail=4, tail_of="lm_head"),
    },
}
PARTS = ("tokens", "greedy", "sampling", "facts")  # the last has hashes of the others


def say(*what):
    print(*what, file=sys.stderr, flush=True)


def open_model(name):
    if name in CATALOGUE:
        return models.Model(name, weights_of(name))
    path = Path(name)
    return models.Model(path.stem if path.suffix == ".gguf" else path.resolve().name, path)


def weights_of(name):
    """A quantised file of a tiny model is a model of its own: tiny-llama:q8_0."""
    model, _, kind = name.partition(":")
    if kind:
        return fixtures(model) / "gguf" / f"{model}-{kind}.gguf"
    return models.smollm2_path() if name == "smollm2-135m" else fixtures(name)


def fixtures(name):
    return models.REPOSITORY / "fixtures" / name.replace(":", "-")  # no colon in a path: Windows has none


def make_case(model, name, prompts=(), messages=None, ids=None, cut=None, **rest):
    """A case from text, a conversation, or ids. `cut` keeps that many tokens."""
    prompts = list(prompts)
    if messages is not None:
        text, chat_ids = model.tokenizer.chat(messages)
        prompts, ids = [text], [chat_ids]
    ids = ids or [tokens.ids_of(model, prompt)[:cut] for prompt in prompts]
    pad_id = model.config.pad_token_id
    if pad_id is None:
        pad_id = model.eos_token_ids[0] if model.eos_token_ids else 0
    if max(map(len, ids)) > model.config.max_position_embeddings:
        raise Trouble(f"case `{name}` is longer than the model's {model.config.max_position_embeddings} positions",
                      "shorten the prompt")
    if any(not 0 <= token < model.config.vocab_size for row in ids for token in row):
        raise Trouble(f"case `{name}` has an id outside the vocabulary of {model.config.vocab_size}", "check --ids")
    return Case(name, ids, prompts, messages, pad_id=pad_id, **rest)


def capture_fixture(model, part):
    """One part of fixtures/<model>: a case, or one of PARTS."""
    directory = fixtures(model.name)
    provenance = model.provenance(f"python scripts/capture_reference.py {model.name} {part}")
    if part == "facts":
        write_json(directory / "facts.json", facts.facts(model, directory, provenance))
    elif part == "tokens":
        write_json(directory / "tokens.json", tokens.table(model, TOKENS, CHATS, provenance))
    elif part == "greedy":
        write_json(directory / "greedy.json", generation.greedy(model, GREEDY[model.name], provenance))
    elif part == "sampling":
        case = make_case(model, "short", **CATALOGUE[model.name]["short"])
        settings = {key: SAMPLING[key] for key in SAMPLING_OF.get(model.name, SAMPLING)}
        logits = truth_of(model, case)["lm_head"][-1]
        table, arrays = generation.sampling(model, logits, case.ids[0], settings, provenance)
        write_npz(directory / "sampling.npz", arrays)
        write_json(directory / "sampling.json", table)
    else:
        case = make_case(model, part, **CATALOGUE[model.name][part])
        truth = truth_of(model, case)
        noise, quantized = measure(model, [case], [truth])[0], quantized_of(model, [case], [truth])[0]
        write_case(model, case, directory / part, provenance, truth, noise, quantized)
    if part in ("tokens", "greedy", "sampling"):
        facts.refresh(directory)


def capture_fixtures(names, parts):
    for name in names:
        known = [*PARTS, *CATALOGUE[name]]
        for part in parts:
            if part not in known:
                raise Trouble(f"{name} has no `{part}`", f"it has {', '.join(known)}")
        model = open_model(name)
        for part in parts or known:
            say(f"capturing {name} {part}")
            capture_fixture(model, part)


def capture_yours(model, options):
    """Cases for any model: prompts, chats of ids, one directory each or one padded batch."""
    entries = [*options.prompt, *options.ids]
    if options.prompts_file:
        entries += read_prompts(options.prompts_file)
    if not entries:
        raise Trouble("nothing to run", "give --prompt TEXT, --ids 1,2,3 or --prompts-file FILE")
    depth = model.config.num_hidden_layers
    if any(not 0 <= layer < depth for layer in options.layers or []) or options.tail < 0 or options.orders < 1:
        raise Trouble(f"--layers are 0 to {depth - 1}, --tail 0 or more, --orders 1 or more", "see --help")
    which = dict(layers=options.layers, tail=options.tail)
    if options.pad:
        ids = [e if isinstance(e, list) else tokens.ids_of(model, e) for e in entries]
        texts = [e for e in entries if isinstance(e, str)]
        places, cases = [options.out], [make_case(model, options.out.resolve().name, texts, ids=ids, pad=options.pad, **which)]
    else:
        alone = len(entries) == 1 and not options.prompts_file
        places = [options.out] if alone else [options.out / f"{n:03}" for n in range(len(entries))]
        cases = [
            make_case(model, place.resolve().name, **({"prompts": [e]} if isinstance(e, str) else {"ids": [e]}), **which)
            for place, e in zip(places, entries)
        ]
    provenance = model.provenance(f"python scripts/capture_reference.py {shlex.join(sys.argv[1:])}")
    say(f"truth of {len(cases)} cases")
    truths = [truth_of(model, case) for case in cases]
    say(f"noise in {', '.join(options.noise) or 'no dtype'}")
    noises = measure(model, cases, truths, options.noise, options.orders)
    quantized = quantized_of(model, cases, truths, options.noise, options.orders)
    for place, *captured in zip(places, cases, truths, noises, quantized):
        case, truth, noise, blocks = captured
        write_case(model, case, place, provenance, truth, noise, blocks)
        print(place)


def read_prompts(path):
    """A .json array of texts (or of arrays of ids), or a text file with a prompt a line."""
    try:
        text = path.read_text(encoding="utf-8")
        entries = json.loads(text) if path.suffix == ".json" else [line for line in text.splitlines() if line]
    except (OSError, ValueError) as error:
        raise Trouble(f"cannot read {path}: {error}", "a prompt a line, or a .json array") from None
    is_ids = lambda entry: isinstance(entry, list) and all(type(token) is int for token in entry)
    if not isinstance(entries, list) or not all(isinstance(entry, str) or is_ids(entry) for entry in entries):
        raise Trouble(f"{path} holds something else than prompts", "a .json array of texts, or of arrays of ids")
    return entries


def numbers(text):
    return [int(number) for number in text.split(",")]


def some_dtypes(text):
    chosen = [] if text == "none" else text.split(",")
    if unknown := [name for name in chosen if name not in DTYPES]:
        raise argparse.ArgumentTypeError(f"no dtype `{unknown[0]}`: {', '.join(DTYPES)}")
    return chosen


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", nargs="?", help="a fixture's name, a Hugging Face directory, or a .gguf file")
    add("parts", nargs="*", help="of a fixture: cases, or tokens, greedy, sampling, facts; none means all")
    add("--all", action="store_true", help="every fixture")
    add("--prove", action="store_true", help="compare the patched functions with transformers' own (default tiny-llama)")
    add("--out", type=Path, metavar="DIR", help="where your own case goes")
    add("--prompt", action="append", default=[], metavar="TEXT", help="may be given again")
    add("--ids", action="append", default=[], type=numbers, metavar="1,2,3", help="token ids in place of a text")
    add("--prompts-file", type=Path, metavar="FILE", help="a prompt a line, or a .json array of texts or ids")
    add("--pad", choices=("left", "right"), help="all prompts as one padded batch")
    add("--layers", type=numbers, metavar="0,1,29", help="store these layers complete (of the others the output)")
    add("--tail", type=int, default=0, metavar="N", help="store the last N rows only (k_rope and v_proj: all)")
    add("--noise", type=some_dtypes, default=list(DTYPES), metavar="f32,bf16,f16", help="dtypes to measure, or none")
    add("--orders", type=int, default=8, metavar="N", help="orders of summation to measure (fewer is faster, and luckier)")
    add("--threads", type=int, default=1, help="more is faster on an idle machine, and sums in another order (default 1)")
    return parser.parse_args()


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.prove:
        prove(open_model(options.model or "tiny-llama"))
    elif options.all:
        capture_fixtures(CATALOGUE, [])
    elif options.model is None:
        raise Trouble("no model named", "--all, a fixture's name, or a path with --prompt and --out; see --help")
    elif options.out:
        capture_yours(open_model(options.model), options)
    elif options.model in CATALOGUE and not (options.prompt or options.ids or options.prompts_file):
        capture_fixtures([options.model], options.parts)
    else:
        raise Trouble(f"no place for a case of {options.model}", "give --out DIR")


if __name__ == "__main__":
    try:
        main()
    except Trouble as trouble:
        say(f"error: {trouble}\nhint: {trouble.hint}")
        sys.exit(2)
    except OSError as error:
        say(f"error: {error}\nhint: may the place be read and written, and is the disk full?")
        sys.exit(2)
