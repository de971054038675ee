#!/usr/bin/env python3
"""A Hugging Face folder of a config.json with random bf16 weights of a usual size, for measurements: python3 standard library alone.

    bench/random_model.py config.json DIR
"""
import json
import os
import random
import shutil
import struct
import sys

BLOCK = 1 << 26  # bytes of random numbers, written over and over


def tensors(c):
    C, F, L, V = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"], c["vocab_size"]
    H = c["num_attention_heads"]
    G, E = c.get("num_key_value_heads", H), c.get("head_dim", C // H)
    yield "model.embed_tokens.weight", [V, C]
    for i in range(L):
        at = f"model.layers.{i}."
        yield at + "input_layernorm.weight", [C]
        for name, rows in ("q", H * E), ("k", G * E), ("v", G * E):
            yield at + f"self_attn.{name}_proj.weight", [rows, C]
            if c["model_type"] == "qwen2":
                yield at + f"self_attn.{name}_proj.bias", [rows]
        yield at + "self_attn.o_proj.weight", [C, H * E]
        yield at + "post_attention_layernorm.weight", [C]
        yield at + "mlp.gate_proj.weight", [F, C]
        yield at + "mlp.up_proj.weight", [F, C]
        yield at + "mlp.down_proj.weight", [C, F]
    yield "model.norm.weight", [C]
    if not c.get("tie_word_embeddings"):
        yield "lm_head.weight", [V, C]


def main():
    config, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    with open(config) as f:
        c = json.load(f)
    shutil.copy(config, os.path.join(folder, "config.json"))
    block = bytearray(random.Random(1).randbytes(BLOCK))
    block[1::2] = block[1::2].translate(bytes(0x3C | (i & 0x80) for i in range(256)))  # signs; magnitudes 2^-7 to 2^-5
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors(c):
        size = 2
        for n in shape:
            size *= n
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, entry in list(header.items())[1:]:
            left = entry["data_offsets"][1] - entry["data_offsets"][0]
            if len(entry["shape"]) == 1:
                f.write((b"\x80\x3f" if name.endswith("norm.weight") else b"\0\0") * (left // 2))
                continue
            while left:
                n = min(left, BLOCK)
                f.write(memoryview(block)[:n])
                left -= n


if __name__ == "__main__":
    main()
