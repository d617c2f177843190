"""Rounding of float32 arrays to the values of narrower formats. The results stay float32 arrays."""

import numpy as np


def f32(x):
    """No rounding. An array in another dtype is a mistake in this program."""
    assert x.dtype == np.float32, x.dtype
    return x


def f16(x):
    """The nearest float16 values; infinite above 65504."""
    with np.errstate(over="ignore"):
        return x.astype(np.float16).astype(np.float32)


def mantissa(x, bits):
    """Rounds to the nearest value with `bits` explicit bits of mantissa, ties to even. NaN and ±∞ are kept."""
    x = np.ascontiguousarray(x, np.float32)
    drop = 23 - bits
    words = x.view(np.uint32)
    even = (words >> np.uint32(drop)) & np.uint32(1)
    half = np.uint32((1 << (drop - 1)) - 1)
    kept = (words + half + even) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    return np.where(np.isfinite(x), kept.view(np.float32), x)


def bf16(x):
    """The nearest bfloat16 values."""
    return mantissa(f32(x), 7)


def tf32(x):
    """The nearest TF32 values, as tensor cores read them."""
    return mantissa(x, 10)


def integers(x, bits, block=None):
    """Symmetric integers of `bits` bits. Each run of `block` values of the last axis has its own scale; without
    `block`, the whole row has one."""
    groups = x.reshape(*x.shape[:-1], -1, block or x.shape[-1])
    largest = 2 ** (bits - 1) - 1
    scale = np.abs(groups).max(-1, keepdims=True) / largest
    steps = np.round(groups / np.where(scale == 0, np.float32(1), scale))
    return (steps * scale).reshape(x.shape).astype(np.float32)


ROUNDING = {"f32": f32, "bf16": bf16}
