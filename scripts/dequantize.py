"""Writes tests/dequantized.json: for each block type, the SHA-256 of what the Python package `gguf` dequantises.

    pip install gguf
    python scripts/dequantize.py

The blocks are made from SHA-256 of the type's name and a counter, so that `tests/block_types.rs` can make the same ones;
numbers in half precision among them are made finite and smaller than 2.
"""

import hashlib
import json
import pathlib

import numpy
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

# The offsets of the bytes with the sign and the exponent of each scale or number in a block.
EXPONENTS = {
    "F32": [3],
    "F16": [1],
    "BF16": [1],
    "Q4_0": [1],
    "Q4_1": [1, 3],
    "Q5_0": [1],
    "Q5_1": [1, 3],
    "Q8_0": [1],
    "Q2_K": [81, 83],
    "Q3_K": [109],
    "Q4_K": [1, 3],
    "Q5_K": [1, 3],
    "Q6_K": [209],
}
ROWS = 4
ELEMENTS = 4096  # in a row


def blocks(name: str, count: int, size: int) -> numpy.ndarray:
    """`count` blocks of `size` bytes."""
    stream = b"".join(hashlib.sha256(f"{name}/{n}".encode()).digest() for n in range(-(-count * size // 32)))
    made = numpy.frombuffer(stream, numpy.uint8)[: count * size].reshape(count, size).copy()
    made[:, EXPONENTS[name]] &= 0xBF
    return made


def main() -> None:
    hashes = {}
    for name in EXPONENTS:
        kind = GGMLQuantizationType[name]
        elements, size = GGML_QUANT_SIZES[kind]
        rows = blocks(name, ROWS * ELEMENTS // elements, size).reshape(ROWS, -1)
        values = dequantize(rows, kind).astype("<f4")
        assert values.shape == (ROWS, ELEMENTS) and numpy.isfinite(values).all(), name
        hashes[name] = hashlib.sha256(values.tobytes()).hexdigest()
    path = pathlib.Path(__file__).parent.parent / "tests/dequantized.json"
    path.write_text(json.dumps(hashes, indent=2) + "\n")


if __name__ == "__main__":
    main()
