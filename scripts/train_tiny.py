#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "torch==2.15.0",
#     "transformers==5.23.0",
#     "tokenizers==0.23.3",
#     "gguf==0.19.0",
#     "accelerate==1.15.0",  # transformers needs it to read GGUF, for the check at the end
# ]
# ///
"""Trains the two tiny Llamas of fixtures/: writes model files and tokenizers, no references.

    sudo apt-get install bible-kjv                  # the text, public domain (below)
    uv run scripts/train_tiny.py                    # both; or name one: tiny-llama, tiny-llama2
    python scripts/train_tiny.py                    # the same, in a venv with the versions above

Writes fixtures/<model>/{config,generation_config,tokenizer,tokenizer_config}.json,
model.safetensors (f16) and gguf/<model>-{f16,q8_0,q4_0}.gguf, then checks that
transformers reads the same weights from safetensors and the F16 GGUF. Takes about
ten minutes per model on an idle core.

Reproducibility: on the same processor, with the versions above and one thread, two
runs gave identical bytes in all files (tried over 20 steps; the stored models were
not trained twice). Another processor, torch version or --threads sums in another
order, and training amplifies differences in the last bit into other weights. The
model is then just as good, but every reference must be captured again. Tokenizers
and configs do not depend on this.

The text is the King James Bible of Debian's package bible-kjv-text (4.38), printed
by the program of package bible-kjv. Without root:

    apt-get download bible-kjv bible-kjv-text
    for deb in bible-kjv*.deb; do dpkg -x $deb DIR; done
    python scripts/train_tiny.py --root DIR
"""

import argparse, hashlib, json, math, os, re, subprocess, sys, time
from pathlib import Path

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}  # before they are imported

import gguf
import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, logging

TEXT_SHA256 = "cd45f0c9cedab8e4439bd6486c8952c77cc8b0ecc5d1f6ae3513f2039f47229d"

COMMON = dict(vocab_size=512, hidden_size=128, head_dim=32, max_position_embeddings=1024, initializer_range=0.05)

MODELS = {
    # All widths differ (hidden 128, q 192, kv 64, FFN 256), three query heads share a key
    # head, head_dim != hidden / heads, and theta and eps are not the usual values: a port
    # that confuses two of these cannot pass.
    "tiny-llama": dict(
        num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=2, intermediate_size=256,
        rope_theta=3e4, rms_norm_eps=3e-5, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=[0, 2],
    ),
    # The shape of Llama 2: square projections, where a missing transpose keeps the right shape.
    # Three layers, because four would equal its number of heads.
    "tiny-llama2": dict(
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, intermediate_size=352,
        rope_theta=1e4, rms_norm_eps=1e-5, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2,
    ),
}

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

PROBE_TEXT = "½ ², é, 日本, digits 1234567, 🐝 emoji, double  spaces,\nnewlines\n\n and 'tis the end"


# transformers 5 refuses 6 heads with a width of 128, although the model itself runs if
# head_dim is given, as it does in transformers 4. We want 128 / 6 not to be an integer, so
# that a port cannot compute head_dim by this division.
LlamaConfig.__class_validators__[:] = [
    v for v in LlamaConfig.__class_validators__ if v.__name__ != "validate_architecture"]


def say(*what):
    print(*what, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- the text

def chapters(root):
    """The Bible as a list of chapters, each a list of verses."""
    root = Path(root).resolve()
    lib = root / "usr/lib"  # `bible` looks for its data in the current directory first
    try:
        text = subprocess.run([root / "usr/bin/bible", "-f", "Gen1:1-Rev22:21"], cwd=lib,
                              stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as e:
        sys.exit(f"error: cannot run `bible` under {root}: {e}\n"
                 "hint: apt-get install bible-kjv, or unpack it and name the place with --root")
    if hashlib.sha256(text).hexdigest() != TEXT_SHA256:
        say("warning: not the text of bible-kjv-text 4.38: the models will differ from the stored ones")
    found = {}
    for line in text.decode("ascii").splitlines():
        book, chapter, verse = re.fullmatch(r"(\d?[A-Za-z]+)(\d+):\d+ (.*)", line).groups()
        found.setdefault((book, chapter), []).append(verse.strip())
    return list(found.values())


def chat(verse):
    """A user begins a verse and the assistant completes it, so that the model learns to stop."""
    words = verse.split()
    head = 2 + len(words) // 4
    return f"<|im_start|>user\n{' '.join(words[:head])}<|im_end|>\n<|im_start|>assistant\n{' '.join(words[head:])}<|im_end|>\n"


def token_stream(model, tokenizer, text):
    """The whole text as one sequence of ids, and the indices where a training row may begin."""
    if model == "tiny-llama":  # one verse per line; every fourth verse is also a chat
        pieces = [v + "\n" for c in text for v in c[:-1] + [c[-1] + "<|endoftext|>"]]
        pieces += [chat(v) for c in text for v in c[::4]]
    else:  # one paragraph per chapter; encoding a verse adds the space before it
        pieces = [v for c in text for v in c[:-1] + [c[-1] + "</s><s>"]]
    ids, starts = [], []
    for piece in tokenizer.encode_batch(pieces, add_special_tokens=False):
        starts.append(len(ids))
        ids += piece.ids
    return torch.tensor(ids), torch.tensor(starts)


# ---------------------------------------------------------------- the tokenizers

def byte_level_bpe(verses):
    """A byte-level BPE like GPT-2's, which splits like SmolLM2's (`pre = smollm`): each digit is separate."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(verses, trainers.BpeTrainer(
        vocab_size=512, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    return t


def llama2_bpe(verses):
    """A BPE like SentencePiece's: <unk> <s> </s>, 256 bytes, then 253 pieces, best first.

    It is learned on words, but applied without splitting, like Llama 2's. A piece may be
    made from any two pieces, and the best piece goes first, so that the list of merges
    here and the scores in GGUF agree.
    """
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    learner.train_from_iterator(verses, trainers.BpeTrainer(
        vocab_size=253, initial_alphabet=list("0123456789"), show_progress=False))
    learned = sorted(learner.get_vocab(), key=learner.get_vocab().get)
    pieces = [p for p in learned if len(p) > 1] + [p for p in learned if len(p) == 1]

    vocab = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + pieces
    ids = {p: i for i, p in enumerate(vocab)}
    merges = [(p[:i], p[i:]) for p in pieces for i in range(1, len(p)) if p[:i] in ids and p[i:] in ids]
    t = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    t.add_special_tokens([AddedToken(s, normalized=False) for s in vocab[:3]])
    return t


def tokenizer_config(model):
    if model == "tiny-llama":
        special = dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>",
                       add_bos_token=False, chat_template=CHAT_TEMPLATE)
    else:
        special = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>", add_bos_token=True)
    return dict(tokenizer_class="PreTrainedTokenizerFast", model_max_length=1024, add_eos_token=False,
                clean_up_tokenization_spaces=False, **special)


# ---------------------------------------------------------------- training

def fresh(config):
    torch.manual_seed(0)
    net = LlamaForCausalLM(LlamaConfig(**config, attn_implementation="sdpa"))  # twice as fast here as eager
    for name, p in net.named_parameters():
        if "norm" in name:  # with weights of 1, nobody would see that a norm's weight is left out
            p.data = 1 + 0.2 * torch.randn_like(p)
    return net


def train(net, ids, starts, prefix, steps, short, peak):
    """Trains for `steps` of 4096 tokens: the first `short` in rows of 256, the others in full contexts."""
    groups = [dict(params=[p for p in net.parameters() if p.dim() == d], weight_decay=w) for d, w in ((2, 0.1), (1, 0.0))]
    opt = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    losses, began = [], time.time()
    for step in range(steps):
        rows, length = (16, 256) if step < short else (4, 1024)
        warm, done = min(1, (step + 1) / min(100, steps / 4)), step / steps
        for g in opt.param_groups:
            g["lr"] = peak * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        usable = starts[starts < len(ids) - length]
        picked = usable[torch.randint(len(usable), (rows,))]
        x = torch.stack([torch.cat([prefix, ids[i : i + length - len(prefix)]]) for i in picked.tolist()])
        loss = net(input_ids=x, labels=x, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step % 50 == 49 or step + 1 == steps:
            say(f"step {step + 1:5} of {steps}  loss {np.mean(losses[-50:]):.3f}  {time.time() - began:.0f} s")
    for p in net.parameters():  # so that every unquantised file contains the same numbers
        p.data = p.data.half().float()  # (net.half() would also round the rope angles)
    return net


# ---------------------------------------------------------------- GGUF

def write_gguf(path, name, config, tensors, tokenizer, kind):
    """Writes a GGUF like llama.cpp's converter: its names, its row order of q and k, norms in F32."""
    w = gguf.GGUFWriter(path, "llama")
    w.add_name(name)
    w.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind}"])
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_vocab_size(config["vocab_size"])
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_block_count(config["num_hidden_layers"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"])
    w.add_head_count_kv(config["num_key_value_heads"])
    w.add_key_length(config["head_dim"])
    w.add_value_length(config["head_dim"])
    w.add_rope_dimension_count(config["head_dim"])
    w.add_rope_freq_base(config["rope_theta"])
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    add_tokenizer(w, name, config, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for hf, t in tensors.items():
        name, data = names.get_name(hf, try_suffixes=(".weight",)), t.float().numpy()
        if "attn_q." in name or "attn_k." in name:  # llama.cpp rotates pairs (2i, 2i+1), Hugging Face (i, i+half)
            data = data.reshape(-1, 2, config["head_dim"] // 2, data.shape[1]).swapaxes(1, 2).reshape(data.shape)
        # Four bits are too few for the matrix that makes the logits; llama.cpp keeps it finer too.
        finer = kind == "Q4_0" and name in ("token_embd.weight", "output.weight")
        dtype = gguf.GGMLQuantizationType["F32" if data.ndim == 1 else "Q8_0" if finer else kind]
        w.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(data), dtype), raw_dtype=dtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def add_tokenizer(w, name, config, tokenizer):
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    kinds = [gguf.TokenType.NORMAL] * len(tokens)
    w.add_token_list(tokens)
    if name == "tiny-llama":
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre("smollm")
        w.add_token_merges([" ".join(m) for m in model["merges"]])
        kinds[:3] = [gguf.TokenType.CONTROL] * 3
        w.add_eos_token_id(0)
        w.add_eot_token_id(2)  # the second end token: <|im_end|>
        w.add_add_bos_token(False)
        w.add_chat_template(CHAT_TEMPLATE)
    else:
        w.add_tokenizer_model("llama")
        w.add_tokenizer_pre("default")
        w.add_token_scores([0.0] * 259 + [-float(i) for i in range(len(tokens) - 259)])
        kinds[:259] = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.BYTE] * 256
        w.add_unk_token_id(0)
        w.add_eos_token_id(2)
        w.add_add_bos_token(True)
        w.add_add_space_prefix(True)
    w.add_token_types(kinds)
    w.add_bos_token_id(config["bos_token_id"])
    w.add_pad_token_id(0 if name == "tiny-llama" else 2)
    w.add_add_eos_token(False)


# ---------------------------------------------------------------- main

def save(out, name, config, net, tokenizer):
    net.half().save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)  # it is written readable by its owner only
    hf = json.loads((out / "config.json").read_text())
    # transformers 5 writes rope_parameters and dtype; most readers expect the older keys.
    hf |= {"rope_theta": config["rope_theta"], "torch_dtype": "float16"}
    (out / "config.json").write_text(json.dumps(hf, indent=2, sort_keys=True) + "\n")
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(name), indent=2) + "\n")
    (out / "gguf").mkdir(exist_ok=True)
    tensors = {k: v for k, v in net.state_dict().items() if k != "lm_head.weight" or not config["tie_word_embeddings"]}
    for kind in ("F16", "Q8_0", "Q4_0"):
        write_gguf(out / "gguf" / f"{name}-{kind.lower()}.gguf", name, config, tensors, tokenizer, kind)


def check(out, name):
    """Reads everything back, fails if two files disagree, and generates samples."""
    tok = AutoTokenizer.from_pretrained(out)
    ids = tok(PROBE_TEXT).input_ids
    assert tok.decode(ids, skip_special_tokens=True) == PROBE_TEXT, tok.decode(ids)
    net = LlamaForCausalLM.from_pretrained(out, dtype=torch.float32)
    back = LlamaForCausalLM.from_pretrained(out / "gguf", gguf_file=f"{name}-f16.gguf", dtype=torch.float32)
    ours, theirs = net.state_dict(), back.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)

    def speak(net, **how):
        return tok.decode(net.generate(**prompt, **how, max_new_tokens=96)[0])

    prompt = tok("And the king said", return_tensors="pt")
    assert speak(net, do_sample=False) == speak(back, do_sample=False)
    say("greedy: ", repr(speak(net, do_sample=False)))
    torch.manual_seed(0)
    say("sampled:", repr(speak(net, do_sample=True, temperature=0.7, top_k=0)))
    if tok.chat_template:
        turn = [dict(role="user", content="In the beginning")]
        prompt = tok.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        say("chat:   ", repr(speak(net, do_sample=False)))


def main():
    p = argparse.ArgumentParser(description="Train the tiny Llamas of fixtures/.")
    p.add_argument("models", nargs="*", metavar="MODEL", help=f"{' or '.join(MODELS)} (default: both)")
    p.add_argument("--root", default="/", help="where the packages bible-kjv and bible-kjv-text are unpacked (default /)")
    p.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "fixtures", help="default: fixtures/")
    p.add_argument("--steps", type=int, default=1200, help="in the first round, and a 15th of that in the second (default 1200, as stored)")
    p.add_argument("--threads", type=int, default=1, help="more is faster, but sums in another order (default 1)")
    args = p.parse_args()
    for name in args.models:
        if name not in MODELS:
            p.error(f"no model {name!r}")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    text = chapters(args.root)
    for name in args.models or MODELS:
        config, out = COMMON | MODELS[name], args.out / name
        out.mkdir(parents=True, exist_ok=True)
        tokenizer = (byte_level_bpe if name == "tiny-llama" else llama2_bpe)([v for c in text for v in c])
        ids, starts = token_stream(name, tokenizer, text)
        say(f"{name}: {len(ids)} tokens of text, {len(starts)} row starts")
        prefix = torch.tensor([1] if name == "tiny-llama2" else [], dtype=torch.long)
        net = train(fresh(config), ids, starts, prefix, args.steps, short=args.steps * 19 // 20, peak=4e-3)
        torch.manual_seed(1)  # a second round: the rate has become too low to learn far positions
        net = train(net, ids, starts, prefix, args.steps // 15, short=0, peak=1.5e-3)
        save(out, name, config, net.eval(), tokenizer)
        check(out, name)


if __name__ == "__main__":
    main()
