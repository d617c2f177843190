"""Bytes on disk: the same every time, and never half a file."""

import hashlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np


class Trouble(Exception):
    """What the user can do something about: one line, and a hint."""

    def __init__(self, line, hint):
        super().__init__(line)
        self.hint = hint


def sha256_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_array(array, dtype):
    """Of the values in C order, little-endian, as `dtype`."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()).hexdigest()


def described(arrays, dtype, rows_of=None):
    """{name: shape and hash} of arrays; `rows_of` a name says which rows its array holds, where it holds rows."""
    return {
        name: ({"rows": rows_of(name)} if rows_of else {})
        | {"shape": list(array.shape), "sha256": sha256_array(array, dtype)}
        for name, array in arrays.items()
    }


def round_to_40_bits(array):
    """Round each float64 to 40 significant bits, nearest even.

    What lies below is only the summation order of the machine that captured it, and the zeros compress.
    """
    drop = 53 - 40
    bits = np.ascontiguousarray(array, dtype=np.float64).view(np.uint64)
    half_less_one = np.uint64((1 << (drop - 1)) - 1)
    odd = (bits >> np.uint64(drop)) & np.uint64(1)  # ties go to the even neighbour
    rounded = ((bits + half_less_one + odd) >> np.uint64(drop)) << np.uint64(drop)
    return np.where(np.isfinite(array), rounded.view(np.float64), array)


def _replace(path, write):
    """Write beside the target and rename: a reader sees the old file or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_npz(path, arrays):
    """A deflated .npz. numpy's own would stamp the time of day into it."""

    def write(target):
        with zipfile.ZipFile(target, "w") as archive:
            for name, array in arrays.items():
                entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
                entry.external_attr = 0o644 << 16
                with archive.open(entry, "w", force_zip64=False) as member:
                    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
                    np.lib.format.write_array(member, little, version=(1, 0))

    _replace(path, write)


def write_json(path, value):
    text = _pretty(value, 0) + "\n"
    _replace(path, lambda target: Path(target).write_text(text, encoding="utf-8"))


def _pretty(value, depth):
    """Indented JSON, but what fits a line stays on it: ids, shapes, short records."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, (dict, list)) or not value:
        return flat
    nested = list(value.values()) if isinstance(value, dict) else value
    deep = any(isinstance(inner, dict) for inner in nested)
    if not deep and (isinstance(value, list) or (depth > 1 and len(flat) <= 160)):
        if len(flat) <= 4000 or not any(isinstance(inner, list) for inner in nested):
            return flat
    pad = " " * (depth + 1)
    if isinstance(value, dict):
        lines = [f"{pad}{json.dumps(key)}: {_pretty(inner, depth + 1)}" for key, inner in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{' ' * depth}}}"
    return "[\n" + ",\n".join(pad + _pretty(inner, depth + 1) for inner in value) + f"\n{' ' * depth}]"
