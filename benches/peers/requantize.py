#!/usr/bin/env python3
"""Writes a GGUF file with its matrices in another block type, from their dequantised values.

    python benches/peers/requantize.py IN.gguf Q4_0 OUT.gguf

The embedding keeps its type. Everything else is copied.
"""

import sys

import gguf
from gguf import GGMLQuantizationType as Type
from gguf import quants


def main():
    path, name, to = sys.argv[1:]
    kind = Type[name]
    reader = gguf.GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(to, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value = field.contents()
        if field.name == "general.file_type":
            value = int(gguf.LlamaFileType[f"MOSTLY_{name}"])
        sub = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, field.types[0], sub)
    for tensor in reader.tensors:
        data, stored = tensor.data, tensor.tensor_type
        if stored not in (Type.F32, Type.F16) and tensor.name != "token_embd.weight":
            data, stored = quants.quantize(quants.dequantize(data, stored), kind), kind
        writer.add_tensor(tensor.name, data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
