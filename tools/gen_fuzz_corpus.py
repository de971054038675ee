#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/corpus/<target>/ (beside them stand found-*, what a fuzzer found, and
min-*, what it needed to reach every branch).
Usage: tools/gen_fuzz_corpus.py. Needs the zstd command and build/kedge."""
import json
import math
import pathlib
import struct
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests/fuzz/corpus"


def put(target, name, data):
    path = ROOT / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def tensors(header, data, pad=True):
    text = header.encode() if isinstance(header, str) else json.dumps(header, separators=(",", ":")).encode()
    if pad:
        text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def zstd(data, *options):
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, stdout=subprocess.PIPE, check=True).stdout


def megatron(lengths, offsets, documents, data=bytes(range(24)), code=8, version=1, sequences=None, entries=None, behind=b""):
    """The index's size in two bytes, the index, the ids."""
    index = b"MMIDIDX\0\0" + struct.pack("<QBQQ", version, code, len(lengths) if sequences is None else sequences,
                                         len(documents) if entries is None else entries)
    index += struct.pack(f"<{len(lengths)}i{len(offsets)}q{len(documents)}q", *lengths, *offsets, *documents) + behind
    return struct.pack("<H", len(index)) + index + data


def dump(layers=1, shifts=(0, 16), H=2, G=1, T=3, E=4, dtype="F32", metadata=None, edit=None, value=None):
    """Queries and keys of `value`, or of small numbers; edit changes the table of names and shapes before it is laid out."""
    shape = {f"layers.{l}.{w}.{s}": [dtype, [heads, T, E]] for l in range(layers) for s in shifts for w, heads in (("q", H), ("k", G))}
    if edit:
        edit(shape)
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, (kind, sizes) in shape.items():
        count, code = math.prod(sizes), {"F64": "d", "F32": "f", "F16": "e", "BF16": "H", "I32": "i"}[kind]
        one = [((len(data) + i) % 7 - 3) / 4 if value is None else value for i in range(count)]
        if code == "H":
            one = [struct.unpack("<I", struct.pack("<f", x))[0] >> 16 for x in one]
        part = struct.pack(f"<{count}{code}", *map(int, one) if code == "i" else one)
        header[name] = entry(kind, sizes, len(data), len(data) + len(part))
        data += part
    return tensors(header, data)


LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "bos_token_id": 1, "eos_token_id": [2, 3], "torch_dtype": "float32",
    "hidden_act": "silu", "tie_word_embeddings": False, "attention_dropout": 0.0,
}
ROPE = {
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192},
    "linear": {"type": "linear", "factor": 4},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0,
             "original_max_position_embeddings": 4096},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "longrope": {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8,
                 "original_max_position_embeddings": 4096},
    "ntk": {"rope_type": "ntk", "factor": 2.0},
}

RECORD = '{"text": "caf\\u00e9 \\ud83d\\ude00 \\"q\\" \\\\ \\/\\b\\f\\n\\r\\t\\u0000", "meta": {"redpajama_set_name": "RedPajamaBook"}}\n'

RUN = """# a run
model:
  path: models/llama   # which
  rope: {theta: 5.0e+6, scaling: {type: linear, factor: 4}, frame: 'document'}
tokenizer: bytes
data:
  train: ["a b", c]
  valid:
    - d
    - "e\\t\\u00e9"
window: 16K
mask: anchor
positions: running
batch: {windows: 1, micro: 1}
optim: {lr: 4e-3, betas: [0.9, 0.95], warmup: 5, schedule: cosine, decay: all}
steps: 80
save: {every: 0, keep: 1}
eval: {every: 0, windows: 4}
output: runs/a
"""

BAR = "\u2581"
PIECES = {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
          "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, BAR: 3, "a": 4, "b": 5, "ab": 6, BAR + "a": 7, BAR * 2: 8, "<0x0A>": 9, "<0xC3>": 10, "<0xA9>": 11},
          "merges": ["a b", BAR + " a", [BAR, BAR]]}
BYTES = {"type": "BPE", "ignore_merges": True, "vocab": {"a": 0, "b": 1, "\u0120": 2, "\u0120a": 3, "ab": 4, "\u00c3": 5, "\u00a9": 6, "\u010a": 7, "abc": 8},
         "merges": [["\u0120", "a"], ["a", "b"]]}
PREPEND = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": BAR}, {"type": "Replace", "pattern": {"String": " "}, "content": BAR}]}
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
WORDS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}%s| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"


def added(*tokens):
    """(id, text) or (id, text, flags that are true)"""
    return [dict({"id": t[0], "content": t[1], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True},
                 **{flag: True for flag in t[2:]}) for t in tokens]


def split(pattern, **more):
    return {"type": "Sequence", "pretokenizers": [dict({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}, **more), LEVEL]}


def template(t_id, name):
    return {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [], "special_tokens": {name: {"id": name, "ids": [t_id], "tokens": [name]}}}


def tokenizers():
    back = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": BAR}, "content": " "}, {"type": "ByteFallback"},
                                             {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    three = added((0, "<unk>"), (1, "<s>"), (2, "</s>"))
    yield "pieces", {"added_tokens": three, "normalizer": PREPEND, "post_processor": template(1, "<s>"), "decoder": back, "model": PIECES}
    for scheme in ("first", "always", "never"):
        yield f"metaspace_{scheme}", {"added_tokens": three, "pre_tokenizer": {"type": "Metaspace", "replacement": BAR, "prepend_scheme": scheme,
                                      "split": False}, "post_processor": template(1, "<s>"), "decoder": back, "model": PIECES}
    yield "bytes", {"added_tokens": added((9, "<|end|>")), "pre_tokenizer": split(WORDS % "{1,3}"), "post_processor": LEVEL, "decoder": LEVEL,
                    "model": BYTES}
    yield "nfc", {"added_tokens": added((9, "<|im_end|>"), (10, "<x>")), "normalizer": {"type": "NFC"}, "pre_tokenizer": split(WORDS % ""),
                  "decoder": LEVEL, "model": BYTES}
    yield "pattern", {"pre_tokenizer": split("a+|(?=b)b|\\S"), "decoder": LEVEL, "model": BYTES}
    yield "flags", {"added_tokens": added((9, "<x>", "lstrip", "rstrip"), (10, "word", "single_word"), (11, "a b", "normalized"), (12, "e\u0301", "normalized")),
                    "normalizer": {"type": "NFC"}, "pre_tokenizer": split(WORDS % ""), "decoder": LEVEL, "model": BYTES}
    yield "all", {"added_tokens": added((9, "<x>", "lstrip", "rstrip"), (10, "word", "single_word"), (11, "a  b", "normalized"), (12, "<s>")),
                  "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "[ \\t]+"}, "content": " "}]},
                  "pre_tokenizer": split("[a-z]+ ?|[^a-z]"), "post_processor": template(12, "<s>"), "decoder": LEVEL, "model": BYTES}
    yield "plain", {"model": {"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}
    yield "gaps", {"model": {"type": "BPE", "vocab": {"a": 7, "b": 70000, "ab": 3}, "merges": ["a b"]}}
    yield "huge_id", {"model": {"type": "BPE", "vocab": {"a": 2147483647}, "merges": []}}
    yield "lowercase", {"normalizer": {"type": "Lowercase"}, "model": BYTES}
    yield "unigram", {"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}
    yield "bad_merge", {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}
    yield "bad_pattern", {"pre_tokenizer": split("(a"), "model": BYTES}


def main():
    put("json", "object", '{"a": [1, -2.5e-3, true, false, null, "\\u00e9\\n"], "b": {"c": {}}, "": []}')
    put("json", "numbers", "[0, -0, 0.5, 1e5, 1E+5, 1e-400, 9223372036854775807, -9223372036854775808, 1.7976931348623157e308]")
    put("json", "strings", '["\\ud83d\\ude00", "\\u0000", "\xe9", "\U0001f600", "\\"\\\\\\/\\b\\f\\n\\r\\t", "0123456789abcdef0123456789"]')
    put("json", "deep", "[" * 64 + "]" * 64)
    put("json", "too_deep", "[" * 65 + "]" * 65)
    for name, text in {
        "repeated": '{"a": 1, "\\u0061": 2}', "half_surrogate": '["\\ud800"]', "overflow": "[1e999]", "beyond": "[9223372036854775808]",
        "bom": b"\xef\xbb\xbf{}", "overlong": b'["\xc0\xaf"]', "surrogate": b'["\xed\xa0\x80"]', "nul": b"[1\0]", "comma": "[1,]",
        "cut": '{"a": "b', "cut_escape": '["\\u12', "behind": "{} {}", "word": "[tru]", "empty": "",
    }.items():
        put("json", name, text)

    for name, body in {
        "echo": {"model": "m", "prompt": [[1, 10, 11], [1, 12]], "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True},
        "text": {"prompt": "plain", "model": "m", "max_tokens": 128, "temperature": 0.0, "stop": [], "seed": -1},
        "texts": {"prompt": ["a", "\u00e9"], "stop": ["\n", "</s>"], "stream": True, "stream_options": {"include_usage": True}, "user": "u"},
        "ids": {"prompt": [1, 2.0, 3], "top_p": 0.5, "top_k": -1, "min_tokens": 2, "ignore_eos": True, "stop_token_ids": [5], "do_sample": False},
        "neutral": {"prompt": "a", "n": 1, "best_of": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "suffix": None, "logit_bias": {},
                    "logprobs": None, "add_special_tokens": False, "skip_special_tokens": True},
        "trtllm": {"prompts": ["a"], "tokens_to_generate": 30, "temperature": 0.0, "top_k": 32, "top_p": 1.0, "random_seed": 0, "stop_words_list": "a,,b"},
        "sglang": {"text": "a", "sampling_params": {"max_new_tokens": 8, "temperature": 0, "stop": "x"}},
        "tokenize": {"prompt": "a", "add_special_tokens": False}, "detokenize": {"tokens": [1, 2]},
        "mixed": {"prompt": ["a", 1]}, "empty": {"prompt": []}, "empty_ids": {"prompt": [[]]}, "fraction": {"prompt": [1.5]}, "two": {"prompt": "a", "n": 2},
        "unknown": {"promt": "a"}, "nul": {"prompt": "a\0b", "stop": "\0"}, "deep": {"prompt": [[[1]]]}, "cold": {"prompt": "a", "temperature": -1},
    }.items():
        put("completions", name, json.dumps(body))

    for name, text in {
        "plain": "a,b,c\n1,2,3\n", "quoted": '"a, ""b""","c\nd",\r\n\r\n"",e\r\n', "last": 'a,b', "inner": 'a"b,c\n', "open": 'a\n"b\nc', "behind": '"a"b\n',
        "carriage": "a\rb,c\r\n", "nul": "a\0b\n", "latin": b"\xe9,b\n", "commas": ",,\n,\n",
    }.items():
        put("csv", name, text)

    put("python", "string", "# a = 'no'\na = 'x' \"y\" r'\\n'  # so\n")
    put("python", "three", "b = \"\"\"\na = 1\n\"\"\"\na = \'\'\'one\n\\ttwo \\x41\\u00e9\\U0001F600\\\n\'\'\'\n")
    put("python", "tasks", "T = f(1)\nif x:\n    a = {'niah': {'n': 128, \"t\": \"\"\"{context}\\n?\"\"\",\n},}  # end\n")
    put("python", "brackets", "f(a='no', b=[1,\na])\na = (\n  'one '\n  'two'\n)\n")
    put("python", "expression", "a = b\na == 'x'\na.b = 'x'\na = 7;b = 8\n")
    put("python", "refused", "a = f'x'\n")
    put("python", "escape", "a = '\\N{DASH}'\n")
    put("python", "open", "a = {'x': (1")
    put("python", "twice", "a = {'x': 1, 'x': 2}")
    put("python", "nul", b"a = 'x\0y'")
    put("python", "bytes", b"a = '\xff'")
    put("python", "deep", "a = " + "(" * 12 + "1" + ")" * 12)
    put("yaml", "run", RUN)
    put("yaml", "short", "model: {init: {arch: llama, preset: demo}}\ntokenizer: bytes\ndata: {train: x}\nwindow: 64K\nsteps: 1\noutput: o\n")
    put("yaml", "anchor", "a: &x 1\nb: *x\n")
    put("yaml", "tags", "%TAG ! tag:x,2000:\n---\na: !!int 1\n")
    put("yaml", "documents", "a: 1\n---\nb: 2\n...\n")
    put("yaml", "block", "a: |\n  text\n  more\nb: >-\n  folded\n  text\n? c\n: - 1\n  - - 2\n")
    put("yaml", "merge", "<<: {a: 1}\n")
    put("yaml", "deep", "[" * 65 + "]" * 65)
    put("yaml", "nul", 'a: "x\\0y"\n')
    put("yaml", "utf16", "a: 1\n".encode("utf-16"))
    put("yaml", "misspelt", RUN.replace("steps", "step").replace("lr:", "lrr:"))
    put("yaml", "ranges", RUN.replace("16K", "99999999M").replace("[0.9, 0.95]", "[0.9, 1]"))
    put("yaml", "escapes", 'output: "\\x41\\u2028\\U0001F600\\N\\_\\L\\P\\e\\a"\n')

    types = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, size in types.items():
        header[name.lower()] = entry(name, [1, 3], at, at + 3 * size)
        at += 3 * size
    put("safetensors", "types", tensors(header, bytes(range(at))))
    put("safetensors", "empty", tensors({}, b""))
    put("safetensors", "scalar_and_none", tensors({"s": entry("F32", [], 0, 4), "e": entry("F32", [0, 7], 4, 4)}, b"\0\0\x80?"))
    for name, (what, data) in {
        "hole": ({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, b"123"),
        "overlap": ({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"123"),
        "trailing": ({"a": entry("U8", [2], 0, 2)}, b"123"),
        "overflow": ({"a": entry("U8", [1 << 33, 1 << 31], 0, 2)}, b"12"),
        "negative": ({"a": entry("U8", [-2], 0, 2)}, b"12"),
        "sub_byte": ({"a": entry("F4", [4], 0, 2)}, b"12"),
        "control_name": ({"a\n\x1b[2J": entry("F4", [4], 0, 2)}, b"12"),
    }.items():
        put("safetensors", name, tensors(what, data))
    put("safetensors", "escaped_twice", tensors('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":'
                                                '{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', b"12"))
    put("safetensors", "real_offset", tensors('{"a":{"dtype":"U8","shape":[1],"data_offsets":[-0,1.0]}}', b"1"))
    put("safetensors", "nul_padding", tensors('{}\0\0\0\0\0\0', b"", False))
    put("safetensors", "deep", tensors('{"a":' + "[" * 70, b"", False))
    for length in (0, 1, 1 << 32, 1 << 63, (1 << 64) - 1):
        put("safetensors", f"length_{length}", struct.pack("<Q", length) + b"{}")
    put("safetensors", "short", b"\2\0\0\0")

    put("jsonl", "records", RECORD + '\n{"text": "", "meta": {}}\n \t\r\n{"meta": {"x": [1.5e3, {"y": null}]}, "text": "b"}')
    put("jsonl", "wrong", '{"text": 5}\n{"text": "a", "text": "b"}\n[1]\n{}\n{"text": "\\ud800"}\n{"text": "\\x"}\n{"text": "a"} x\n{"text": 01}\n')
    put("jsonl", "bytes", b'{"text": "\xff"}\n{"te\0xt": "a"}\n\xef\xbb\xbf{"text": "a"}\n{"text": "cut')
    put("jsonl", "bom", b"\xef\xbb\xbf" + RECORD.encode())
    put("jsonl", "deep", '{"text": "a", "x": ' + "[" * 70 + "]" * 70 + "}\n")
    put("jsonl", "source", '{"text": "a", "meta": {"redpajama_set_name": 5}}\n{"text": "a", "meta": {"redpajama_set_name": "a\\u0000"}}\n{"meta": 1}\n')

    put("jsonl", "ids", '{"input_ids": [5, 6, 2147483646], "labels": [-100, 6, 2147483646], "attention_mask": [1, 1, 1]}\n'
        '{"loss_mask": [0, true, 1.0], "input_ids": [1, 2, 3], "source": "RedPajamaC4"}\n{"input_ids": []}\n' + RECORD)
    put("jsonl", "rows", '{"input_ids": [1, 7, 1, 8], "labels": 9, "source": [{"source": "RedPajamaBook", "start": 0, "end": 2}, '
        '{"source": "C4", "start": 2, "end": 4}]}\n{"source": [{"end": 1, "start": 0, "source": "C4"}], "labels": 3, "input_ids": [9]}\n')
    put("jsonl", "ids_wrong", '{"input_ids": [1.5]}\n{"input_ids": [1], "labels": [2]}\n{"input_ids": [1], "loss_mask": [2]}\n{"input_ids": [1], "text": ""}\n'
        '{"input_ids": [1], "attention_mask": [0]}\n{"input_ids": [1], "source": [{"source": "a", "start": 1, "end": 0}]}\n{"input_ids": ["a"], "labels": -1}\n'
        '{"text": "a", "labels": [{}], "source": [[1]]}\n{"input_ids": [1, 2], "labels": [1], "source": 3}\n')

    for code in range(10):
        put("megatron", f"type_{code}", megatron([1, 2], [0, 8], [0, 1, 2], code=code))
    put("megatron", "documents", megatron([3, 1, 2], [0, 6, 8], [0, 2, 2, 3]))
    put("megatron", "none", megatron([], [], [0], b""))
    put("megatron", "modes", megatron([1, 1], [0, 2], [0, 2], behind=b"\0\1"))
    put("megatron", "short", megatron([1], [0], [0, 1])[:30])
    put("megatron", "version", megatron([1], [0], [0, 1], version=2))
    put("megatron", "huge", megatron([1], [0], [0, 1], sequences=(1 << 62) + 1, entries=(1 << 61) + 2))
    put("megatron", "negative", megatron([-1, 1, 1], [0, -2, 1 << 62], [0, 1, 2, 3]))
    put("megatron", "beyond", megatron([13, 12, 1], [0, 2, 24], [0, 1, 2, 3]))
    put("megatron", "same_place", megatron([12] * 4, [0] * 4, [0, 4]))
    put("megatron", "decreasing", megatron([1] * 3, [0, 2, 4], [0, 2, 1, 3]))
    put("megatron", "unfinished", megatron([1] * 3, [0, 2, 4], [0, 1, 2]))
    put("megatron", "negative_ids", megatron([1, 1], [0, 8], [0, 1, 2], struct.pack("<2q", -1, 1 << 31), 5))

    text = (RECORD * 3).encode()
    frame, plain = zstd(text, "--check"), zstd(text, "--no-check")
    skippable = b"\x5f\x2a\x4d\x18\x03\0\0\0abc"
    put("zstd", "checksum", frame)
    put("zstd", "frames", frame + skippable + plain + b"\x50\x2a\x4d\x18\0\0\0\0")
    put("zstd", "cut", frame[:-7])
    put("zstd", "wrong_checksum", frame[:-1] + bytes([frame[-1] ^ 1]))
    put("zstd", "behind", frame + b"garbage")
    put("zstd", "empty", b"")
    put("zstd", "skippable_cut", b"\x5f\x2a\x4d\x18\xff\xff\xff\xffabc")
    put("zstd", "zeros", zstd(bytes(1 << 20), "-19"))
    put("zstd", "not_zstd", RECORD)
    for log in (27, 28, 41):  # a window of 2^log bytes, one raw block of 16
        put("zstd", f"window_{log}", b"\x28\xb5\x2f\xfd\0" + bytes([(log - 10) << 3]) + b'\x79\0\0{"text":"wide"}')
    put("zstd", "dictionary", b"\x28\xb5\x2f\xfd\x01\x58\x05\x09\0\0x")

    put("config", "llama", json.dumps(LLAMA, indent=1))
    put("config", "qwen2", json.dumps(dict(LLAMA, model_type="qwen2", use_sliding_window=False, layer_types=["full_attention"] * 3)))
    put("config", "mistral", json.dumps(dict(LLAMA, model_type="mistral", sliding_window=None)))
    for name, rope in ROPE.items():
        put("config", f"rope_{name}", json.dumps(dict(LLAMA, rope_scaling=rope)))
        put("config", f"rope5_{name}", json.dumps(dict(LLAMA, rope_parameters=dict(rope, rope_theta=1e6))))
    huge = dict(LLAMA, vocab_size=1 << 24, hidden_size=1 << 24, intermediate_size=1 << 24, num_hidden_layers=1 << 14,
                num_attention_heads=1 << 20, num_key_value_heads=1 << 20, head_dim=256)
    put("config", "huge", json.dumps(huge))
    for key, value in {"vocab_size": 1 << 62, "hidden_size": -64, "num_attention_heads": 0, "num_key_value_heads": 3, "head_dim": 15.5,
                       "bos_token_id": 300, "rms_norm_eps": 0, "rope_theta": 1e300}.items():
        put("config", f"wrong_{key}", json.dumps(dict(LLAMA, **{key: value})))

    put("dump", "small", dump(metadata={"scale": "0.3", "model": "a", "precision": "f32"}))
    put("dump", "layers_and_shifts", dump(layers=2, shifts=(0, 1, 16, 131072), H=4, G=2, T=2, E=2, dtype="BF16"))
    put("dump", "halves", dump(dtype="F16", T=9, E=2))
    put("dump", "doubles", dump(dtype="F64", T=2, E=2))
    put("dump", "odd_head", dump(E=3))
    put("dump", "one_token", dump(T=1))
    put("dump", "without_16", dump(shifts=(3, 5)))
    put("dump", "beyond_float", dump(dtype="F64", T=2, E=2, value=1e300))
    put("dump", "largest", dump(T=2, E=2, value=3.4e38, metadata={"scale": "1e308"}))
    for value in ("nan", "inf"):
        put("dump", value, dump(T=2, E=2, value=float(value)))
    for name, edit in {
        "shift_missing": lambda x: x.pop("layers.0.k.16"),
        "one_shift": lambda x: [x.pop(f"layers.0.{w}.16") for w in "qk"],
        "layer_gap": lambda x: [x.update({f"layers.2.{w}.{s}": x[f"layers.0.{w}.{s}"]}) for w in "qk" for s in (0, 16)],
        "layer_far": lambda x: x.update({f"layers.{(1 << 63) - 1}.q.0": x["layers.0.q.0"]}),
        "layer_beyond": lambda x: x.update({f"layers.{1 << 63}.q.0": x["layers.0.q.0"]}),
        "twice": lambda x: x.update({"layers.00.q.0": x["layers.0.q.0"], "layers.0.k.+16": x["layers.0.k.16"]}),
        "negative": lambda x: [x.update({f"layers.0.{w}.-1": x[f"layers.0.{w}.0"]}) for w in "qk"],
        "stranger": lambda x: x.update({"layers.0.v.0": x["layers.0.q.0"]}),
        "rank_2": lambda x: x.update({"layers.0.q.0": ["F32", [6, 4]]}),
        "whole_numbers": lambda x: x.update({"layers.0.k.0": ["I32", [1, 3, 4]]}),
        "shapes_differ": lambda x: x.update({"layers.0.q.16": ["F32", [2, 4, 3]]}),
    }.items():
        put("dump", name, dump(edit=edit))
    put("dump", "groups", dump(H=3, G=2))
    put("dump", "no_heads", dump(H=0, G=0))
    put("dump", "no_tokens", dump(T=0))
    put("dump", "empty_and_long", dump(edit=lambda x: x.update({name: ["F32", [0, 1 << 62, 1 << 62]] for name in x})))
    for name, scale in {"word": "big", "behind": "0.3 x", "zero": "0", "negative": "-1", "nan": "nan", "infinite": "1e999", "empty": ""}.items():
        put("dump", f"scale_{name}", dump(metadata={"scale": scale}))
    put("dump", "names", dump(metadata={"model": "\u00e9" * 100, "precision": "a\n\x1b[2J"}))

    for name, parts in tokenizers():
        put("tokenizer", name, json.dumps(parts, ensure_ascii=False, separators=(",", ":")))


main()

# The files of the pack that fuzz_pack.c makes, each behind the byte that says which it is.
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    (folder / "a.jsonl").write_text(
        '{"text": "a first document of some length", "meta": {"redpajama_set_name": "RedPajamaC4"}}\n'
        '{"text": "b"}\n{"input_ids": [65, 66, 67, 68], "loss_mask": [0, 1, 1, 1]}\n')
    (folder / "run.yaml").write_text(
        "model: {init: {arch: llama, preset: tiny}}\ntokenizer: bytes\ndata: {train: [a.jsonl]}\nwindow: 16\nmask: anchor\n"
        "tag: true\ninterleave: true\nsteps: 1\noutput: o\n")
    kedge = ROOT.parent.parent.parent / "build/kedge"
    subprocess.run([kedge, "pack", "run.yaml", "--quiet", "--out", "pack"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    for which, name in enumerate(("tokens/train/store.json", "pack.json", "tokens/train/tokens-00001.safetensors", "train.safetensors")):
        put("pack", pathlib.Path(name).name.replace(".", "_"), bytes([which]) + (folder / "pack" / name).read_bytes())
