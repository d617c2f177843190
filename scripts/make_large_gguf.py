#!/usr/bin/env python3
"""Writes a large made-up model as a GGUF file: random Q4_0 blocks at the true shapes, from a seed.

    scripts/make_large_gguf.py llama-2-7b OUT.gguf
    scripts/make_large_gguf.py llama-3.1-8b OUT.gguf --layers 4

Its text is nonsense, but its time and memory are those of the real model. The file has about 4 GB: delete it afterwards.
The vocabulary consists of bytes, a few words and placeholders.
"""

import argparse
import random
import struct

SHAPES = {
    "llama-2-7b": dict(
        layers=32, hidden=4096, ffn=11008, heads=32, kv_heads=32, vocab=32000, context=4096, theta=10000.0, eps=1e-5
    ),
    "llama-3.1-8b": dict(
        layers=32, hidden=4096, ffn=14336, heads=32, kv_heads=8, vocab=128256, context=131072, theta=500000.0, eps=1e-5
    ),
}
# Llama 3.1's law: factor, low and high frequency factor, original context.
SCALING = {"llama-3.1-8b": (8.0, 1.0, 4.0, 8192)}

F32, Q4_0 = 0, 2
UINT32, FLOAT32, STRING, ARRAY, INT32 = 4, 6, 8, 9, 5
# The standard deviation of a weight, over that of a number from -8 to 7.
STEP = 0.02 / 4.61
BLOCKS_AT_ONCE = 1 << 18


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def metadata(key, kind, value):
    plain = {UINT32: "<I", FLOAT32: "<f", INT32: "<i"}
    if isinstance(value, list):
        items = b"".join(text(v) if kind == STRING else struct.pack(plain[kind], v) for v in value)
        return text(key) + struct.pack("<IIQ", ARRAY, kind, len(value)) + items
    return text(key) + struct.pack("<I", kind) + (text(value) if kind == STRING else struct.pack(plain[kind], value))


def sentence_piece(vocab):
    """Tokens, scores and types of a SentencePiece vocabulary that splits text into bytes and the word Hello."""
    tokens, types = ["<unk>", "<s>", "</s>"], [2, 3, 3]
    tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    types += [6] * 256
    word = "\u2581Hello"
    tokens += [word[:n] for n in range(1, len(word) + 1)] + list("Helo")
    tokens += [f"\u2581filler{n}" for n in range(vocab - len(tokens))]
    types += [1] * (vocab - len(types))
    return [
        metadata("tokenizer.ggml.model", STRING, "llama"),
        metadata("tokenizer.ggml.tokens", STRING, tokens),
        metadata("tokenizer.ggml.scores", FLOAT32, [-float(n) for n in range(vocab)]),
        metadata("tokenizer.ggml.token_type", INT32, types),
        metadata("tokenizer.ggml.bos_token_id", UINT32, 1),
        metadata("tokenizer.ggml.eos_token_id", UINT32, 2),
    ]


def byte_level(vocab):
    """Tokens and merges of a byte-level vocabulary with the word Hello."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    tokens = [chr(byte) for byte in visible] + [chr(256 + n) for n in range(len(hidden))]
    tokens += ["He", "Hel", "Hell", "Hello"]
    merges = ["H e", "He l", "Hel l", "Hell o"]
    bos = len(tokens)
    tokens += ["<|begin_of_text|>", "<|end_of_text|>"]
    types = [1] * bos + [3, 3]
    tokens += [f"filler{n}" for n in range(vocab - len(tokens))]
    types += [1] * (vocab - len(types))
    return [
        metadata("tokenizer.ggml.model", STRING, "gpt2"),
        metadata("tokenizer.ggml.pre", STRING, "llama-bpe"),
        metadata("tokenizer.ggml.tokens", STRING, tokens),
        metadata("tokenizer.ggml.token_type", INT32, types),
        metadata("tokenizer.ggml.merges", STRING, merges),
        metadata("tokenizer.ggml.bos_token_id", UINT32, bos),
        metadata("tokenizer.ggml.eos_token_id", UINT32, bos + 1),
    ]


def divisors(theta, dims, scaling):
    """`rope_freqs.weight`: by how much each pair's frequency is divided."""
    factor, low, high, original = scaling
    found = []
    for pair in range(dims // 2):
        wavelength = 2 * 3.141592653589793 * theta ** (2 * pair / dims)
        if wavelength < original / high:
            found.append(1.0)
        elif wavelength > original / low:
            found.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            found.append(1.0 / ((1 - smooth) / factor + smooth))
    return found


def tensors(shape, scaling):
    """Name, type and shape (rows first) of every tensor, in the order of the file."""
    hidden, ffn, head = shape["hidden"], shape["ffn"], shape["hidden"] // shape["heads"]
    yield "token_embd.weight", Q4_0, (shape["vocab"], hidden)
    if scaling:
        yield "rope_freqs.weight", F32, (head // 2,)
    for layer in range(shape["layers"]):
        name = f"blk.{layer}."
        yield name + "attn_norm.weight", F32, (hidden,)
        yield name + "attn_q.weight", Q4_0, (shape["heads"] * head, hidden)
        yield name + "attn_k.weight", Q4_0, (shape["kv_heads"] * head, hidden)
        yield name + "attn_v.weight", Q4_0, (shape["kv_heads"] * head, hidden)
        yield name + "attn_output.weight", Q4_0, (hidden, hidden)
        yield name + "ffn_norm.weight", F32, (hidden,)
        yield name + "ffn_gate.weight", Q4_0, (ffn, hidden)
        yield name + "ffn_up.weight", Q4_0, (ffn, hidden)
        yield name + "ffn_down.weight", Q4_0, (hidden, ffn)
    yield "output_norm.weight", F32, (hidden,)
    yield "output.weight", Q4_0, (shape["vocab"], hidden)


def size(kind, shape):
    count = 1
    for n in shape:
        count *= n
    return count * 4 if kind == F32 else count // 32 * 18


def blocks(rng, count):
    """Q4_0 blocks: a float16 scale and 32 numbers of 4 bits."""
    scales = [struct.pack("<e", STEP * (0.5 + n / 255)) for n in range(256)]
    while count > 0:
        n = min(count, BLOCKS_AT_ONCE)
        random_bytes, chosen = rng.randbytes(16 * n), rng.randbytes(n)
        data = bytearray(18 * n)
        data[0::18] = chosen.translate(bytes(scale[0] for scale in scales))
        data[1::18] = chosen.translate(bytes(scale[1] for scale in scales))
        for at in range(16):
            data[2 + at :: 18] = random_bytes[at::16]
        yield data
        count -= n


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=SHAPES)
    parser.add_argument("out")
    parser.add_argument("--layers", type=int, help="fewer layers than the real model has")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    shape, scaling = dict(SHAPES[args.model]), SCALING.get(args.model)
    shape["layers"] = args.layers or shape["layers"]
    head = shape["hidden"] // shape["heads"]
    keys = [
        metadata("general.architecture", STRING, "llama"),
        metadata("general.name", STRING, f"made-up {args.model}"),
        metadata("llama.block_count", UINT32, shape["layers"]),
        metadata("llama.context_length", UINT32, shape["context"]),
        metadata("llama.embedding_length", UINT32, shape["hidden"]),
        metadata("llama.feed_forward_length", UINT32, shape["ffn"]),
        metadata("llama.attention.head_count", UINT32, shape["heads"]),
        metadata("llama.attention.head_count_kv", UINT32, shape["kv_heads"]),
        metadata("llama.attention.layer_norm_rms_epsilon", FLOAT32, shape["eps"]),
        metadata("llama.rope.freq_base", FLOAT32, shape["theta"]),
        metadata("llama.rope.dimension_count", UINT32, head),
        metadata("llama.vocab_size", UINT32, shape["vocab"]),
        *(byte_level if scaling else sentence_piece)(shape["vocab"]),
    ]
    listed = list(tensors(shape, scaling))
    rng = random.Random(args.seed)
    with open(args.out, "wb") as file:
        file.write(struct.pack("<4sIQQ", b"GGUF", 3, len(listed), len(keys)))
        file.write(b"".join(keys))
        offset = 0
        for name, kind, dims in listed:
            # Dimensions are listed columns first.
            file.write(text(name) + struct.pack("<I", len(dims)))
            file.write(struct.pack(f"<{len(dims)}Q", *reversed(dims)) + struct.pack("<IQ", kind, offset))
            offset += -(-size(kind, dims) // 32) * 32
        for name, kind, dims in listed:
            file.write(b"\0" * (-file.tell() % 32))
            if name == "rope_freqs.weight":
                file.write(struct.pack(f"<{dims[0]}f", *divisors(shape["theta"], head, scaling)))
            elif kind == F32:
                file.write(struct.pack(f"<{dims[0]}f", *(rng.gauss(1.0, 0.2) for _ in range(dims[0]))))
            else:
                for part in blocks(rng, size(kind, dims) // 18):
                    file.write(part)
    print(f"{args.out}: {args.model}, {shape['layers']} layers")


main()
