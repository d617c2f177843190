"""Changes single bytes of weights, references, recordings, manifests and tokenizers, and lists those that nothing shows.

    cargo build --release
    python scripts/change_bytes.py 1000                               the number of changes
    python scripts/change_bytes.py 100 7 target/debug/rbees-check recording    with this seed and program, only this kind

Each change is made in a copy of a tiny model's files, at a random place, to a random other value. The program must end
with exit code 1 or 2. Where it ends with 0, the byte is listed with what it is; a change that cannot have a meaning is
listed as such: the file still contains the same values, or the byte belongs to a part that is only for information.

Needs numpy.
"""

import collections
import io
import json
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy

ROOT = pathlib.Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"
PROGRAM = ROOT / "target/release/rbees-check"
MODEL = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
CASE = ["manifest.json", "reference.npz", "noise.npz"]
# Parts of a manifest and of facts that say where they come from.
FOR_INFORMATION = ["provenance", "second_oracle", "padding", "case", "model"]

# Keys of config.json that do not change what transformers computes in inference: the version that wrote the file, training, and
# whether a cache is used.
NOT_COMPUTED = ["transformers_version", "initializer_range", "attention_dropout", "pretraining_tp", "use_cache"]


def recording() -> bytes:
    """The reference of `short`, in f32, as an honest recording."""
    folder = FIXTURES / "tiny-llama/short"
    arrays = {"input_ids": numpy.array(json.loads((folder / "manifest.json").read_text())["ids"])}
    for name, value in numpy.load(folder / "reference.npz").items():
        value = value.astype("f4")
        arrays[name] = value[None] if value.ndim == 2 else value.transpose(1, 0, 2)[None]
    out = io.BytesIO()
    numpy.savez(out, **arrays)
    return out.getvalue()


def copy(names, source, into):
    into.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(source / name, into / name)


def kinds(folder: pathlib.Path):
    """For each kind: the file that is changed, and the arguments that read it."""
    copy(MODEL, FIXTURES / "tiny-llama", folder / "model")
    copy(CASE, FIXTURES / "tiny-llama/single", folder / "case")
    shutil.copy(FIXTURES / "tiny-llama/gguf/tiny-llama-f16.gguf", folder / "model.gguf")
    (folder / "dump.npz").write_bytes(recording())
    facts = ["facts.json", "tokens.json", "greedy.json", "sampling.json", "sampling.npz"]
    copy(facts, FIXTURES / "tiny-llama2", folder / "facts")
    copy(CASE, FIXTURES / "tiny-llama2/short", folder / "facts/short")
    model = ["--model", str(folder / "model"), "--references", "tiny-llama"]
    weights = ["run", "00", "00B", "--case", "single", "--attention", "plain", *model]
    gguf = ["run", "00", "00B", "--case", "single", "--attention", "plain"]
    gguf += ["--model", str(folder / "model.gguf"), "--references", "tiny-llama"]
    case = ["run", "01", "03", "--case", str(folder / "case"), "--attention", "plain"]
    whole = ["run", "00", "00B", "08", "09", "--model", "tiny-llama2", "--references", str(folder / "facts"), "--attention", "plain"]
    yield "weights", folder / "model/model.safetensors", weights
    yield "config", folder / "model/config.json", weights
    yield "tokenizer", folder / "model/tokenizer.json", weights
    yield "GGUF", folder / "model.gguf", gguf
    yield "recording", folder / "dump.npz", ["run", "all", "--dump", str(folder / "dump.npz")]
    for name in CASE:
        yield name, folder / "case" / name, case
    for name in facts:
        yield name, folder / "facts" / name, whole


def without_meaning(path: pathlib.Path, before: bytes, after: bytes, at: int) -> str | None:
    """Why the changed byte has no meaning, or None."""
    if path.suffix == ".json":
        try:
            old, new = json.loads(before), json.loads(after)
        except (json.JSONDecodeError, UnicodeDecodeError):
            return None
        if old == new:
            return "the JSON has the same content"
        if without_defaults(old) == without_defaults(new):
            return "a key whose value is null or false"
        # The readers ignore unknown keys, and those that are only for information.
        unknown = [key for key in new if key not in old] + FOR_INFORMATION
        unknown += NOT_COMPUTED if path.name == "config.json" else []
        for each in (old, new):
            for key in unknown:
                each.pop(key, None)
        return "a key that is only for information" if old == new else None
    if path.suffix == ".npz":
        old, new = members(before), members(after)
        return "a part of the archive beside the names, checksums and values of its members" if old == new else None
    if path.suffix == ".safetensors":
        length = int.from_bytes(before[:8], "little")
        if 8 <= at < 8 + length and int.from_bytes(after[:8], "little") == length:
            try:
                old, new = json.loads(before[8 : 8 + length]), json.loads(after[8 : 8 + length])
            except (json.JSONDecodeError, UnicodeDecodeError):
                return None
            old.pop("__metadata__", None), new.pop("__metadata__", None)
            return "metadata that are only for information" if old == new else None
    if path.suffix == ".gguf":
        return gguf_text(before, at)
    return None


def without_defaults(value):
    """The value without keys that are null or false."""
    if isinstance(value, dict):
        return {key: without_defaults(inner) for key, inner in value.items() if inner is not None and inner is not False}
    return [without_defaults(inner) for inner in value] if isinstance(value, list) else value


def members(archive: bytes):
    """Each member's name, checksum, size and data, from the directory at the end of a zip archive."""
    end = archive.rfind(b"PK\x05\x06")
    count, _, at = struct.unpack_from("<HII", archive, end + 10)
    found = []
    for _ in range(count):
        if archive[at : at + 4] != b"PK\x01\x02":
            return None
        method, crc, packed, size = struct.unpack_from("<HxxxxIII", archive, at + 10)
        name, extra, comment = struct.unpack_from("<HHH", archive, at + 28)
        start = struct.unpack_from("<I", archive, at + 42)[0]
        local = struct.unpack_from("<HH", archive, start + 26)
        data = start + 30 + sum(local)
        content = archive[data : data + packed]
        if method == 8:
            try:
                # The last bits of a stream fill its last byte.
                content = zlib.decompress(content, -15)
            except zlib.error:
                return None
        found.append((archive[at + 46 : at + 46 + name], crc, size, content))
        at += 46 + name + extra + comment
    return found


def gguf_text(data: bytes, at: int) -> str | None:
    """The metadata key of a GGUF file whose name or value the byte belongs to, or padding."""
    from gguf import GGUFReader  # only for this

    reader = GGUFReader(io_path(data))
    for field in reader.fields.values():
        size = sum(part.nbytes for part in field.parts)
        if field.offset <= at < field.offset + size:
            return f"metadata {field.name}"
    for tensor in reader.tensors:
        if tensor.data_offset <= at < tensor.data_offset + tensor.n_bytes:
            return None
    return "padding"


def io_path(data: bytes) -> str:
    path = pathlib.Path(tempfile.gettempdir()) / "change-bytes.gguf"
    path.write_bytes(data)
    return str(path)


def main() -> int:
    count, seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1000, int(sys.argv[2]) if len(sys.argv) > 2 else 1
    program = sys.argv[3] if len(sys.argv) > 3 else str(PROGRAM)
    chance = random.Random(seed)
    seen, unseen, mentioned = collections.Counter(), [], []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        all_kinds = list(kinds(folder))
        all_kinds = [each for each in all_kinds if len(sys.argv) < 5 or each[0] == sys.argv[4]]
        skipped = {}
        for kind, _, arguments in all_kinds:
            done = subprocess.run([program, *arguments], capture_output=True, cwd=folder)
            assert done.returncode == 0, (kind, done.stdout.decode() + done.stderr.decode())
            skipped[kind] = re.findall(r"\d+ skipped", done.stdout.decode())
        for turn in range(count):
            kind, path, arguments = all_kinds[turn % len(all_kinds)]
            before = path.read_bytes()
            at = chance.randrange(len(before))
            after = bytearray(before)
            after[at] = (after[at] + chance.randrange(1, 256)) % 256
            path.write_bytes(after)
            done = subprocess.run([program, *arguments], capture_output=True, cwd=folder)
            path.write_bytes(before)
            text = done.stdout.decode() + done.stderr.decode()
            # A tokenizer that only this program does not support skips the texts, which is printed and counted, and fails
            # .ci/run. An unknown or unusual key is noted.
            said = "skipped" if re.findall(r"\d+ skipped", text) != skipped[kind] else "noted" if "note: " in text else done.returncode
            code = done.returncode if done.returncode else said
            seen[kind, code] += 1
            around = before[max(0, at - 30) : at + 30]
            if code == 0:
                unseen.append((kind, at, without_meaning(path, before, bytes(after), at), around))
            elif isinstance(code, str):
                mentioned.append((kind, code, at, around))
            elif done.returncode not in (0, 1, 2):
                print(f"exit {done.returncode}: {kind} at {at}: {done.stderr.decode()[:500]}")
    for (kind, code), n in sorted(seen.items(), key=str):
        print(f"{kind:16} {f'exit {code}' if isinstance(code, int) else code}: {n}")
    for kind, code, at, around in mentioned:
        print(f"{code}: {kind} at {at}: {around!r}")
    reasons = collections.defaultdict(list)
    for kind, at, why, around in unseen:
        if why:
            reasons[f"{kind}: {why}"].append((at, around))
    for why, places in sorted(reasons.items()):
        print(f"without meaning: {len(places):4} {why}")
        for at, around in places:
            print(f"                      at {at}: {around!r}")
    passed = [(kind, at, around) for kind, at, why, around in unseen if not why]
    for kind, at, around in passed:
        print(f"UNSEEN: {kind} at {at}: {around!r}")
    said = sum(n for (_, code), n in seen.items() if isinstance(code, str))
    print(
        f"{count} changes: {sum(seen.values()) - len(unseen) - said} refused or red, {said} skipped or noted, "
        f"{len(unseen) - len(passed)} without meaning, {len(passed)} unseen"
    )
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
