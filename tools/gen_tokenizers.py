#!/usr/bin/env python3
"""Makes tests/golden/tokenizers: small tokenizer.json files of our own, and what Hugging Face's `tokenizers` does with them.

Each folder holds tokenizer.json, trained on this repository's own text, and vectors.jsonl, one text a line:

  text      what is encoded
  ids       its ids, without what the post-processor adds
  before    ids the post-processor puts in front     after    behind; the same for every text of a tokenizer
  as_text   ids with special tokens taken as text, where they differ
  decoded   the text of before + ids + after         plain    of the same, special tokens left out

and behind those, without a text, lists of ids that no text has: ids, decoded, plain.

    python tools/gen_tokenizers.py            vectors.jsonl and parts.jsonl, of the tokenizer.json files that are there
    python tools/gen_tokenizers.py --train llama2 qwen    these tokenizer.json too

parts.jsonl has one tokenizer a line, made of one of these: {"of": its name, "put": {part: what it is instead}, "texts": [[text,
ids, decoded]]}.

Training decides ties anew each time. Run with Python 3.11.7, tokenizers 0.23.3.
"""
import argparse
import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests/golden/tokenizers"
BAR = "\u2581"
WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
         r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3, QWEN = WORDS % "{1,3}", WORDS % ""

# ---- texts ------------------------------------------------------------------------------------------------------

TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", " \n", "\n ", "\t", "\r\n", " \r\n x", "a", " a", "a ", "  a  ", "a\nb", "a \n  b", "a\n\n\nb",
    "\0", "a\0b", "\0\0 \0", "The window of the model is 131072 tokens long.", " The leading space", "The trailing space ",
    "Don't, we'll, I'M, they'RE; it's o'clock 'til 'S", "'\u017f '\u017fa \u212a", "int64_t *id = (int64_t *)malloc(n * sizeof *id);",
    "for (int64_t i = 0; i < n; i++)\n    x[i] += 1;\n\t/* tab */\n", "1 12 123 1234 12345 123456 1,234.56 \u00bd \u0663\u0664 \u2167",
    "na\u00efve caf\u00e9 \u00c5ngstr\u00f6m", "nai\u0308ve cafe\u0301 A\u030angstro\u0308m", "\u212b \u1e9b\u0323 \ufb01 \u0958 \u2126 \u00c5",
    "\uac00 \u1100\u1161 \u1100\u1161\u11a8 \ud55c\uad6d\uc5b4", "q\u0307\u0323 q\u0323\u0307 \u0301a \u0344",
    "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3002 \u4e2d\u6587\uff0c\u6c49\u5b57\u3002", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u0939\u093f\u0928\u094d\u0926\u0940", "\U0001f600\U0001f44d\U0001f3fd",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 family", "\U00010348 \U000e0001 \U0010ffff", "a\u00a0b\u2028c\u2029d\u0085e\u180ef\u3000g\u200bh\ufeffi",
    "\u0085\u0085 x", "\u00a0\u00a0x", "\u2028\n x", "\u180e\u180ex \u180e", "\x1c\x1d x \x0b\x0c y", "\ufeffBOM", "\ufffd \uffff \u0378",
    " " * 17 + "x" + " " * 33, "\n" * 19, "\t" * 9 + "x", " \n" * 5 + "y", "a" * 70, "=" * 40, "ab" * 30, "0" * 25, "\u00e9" * 20,
    BAR, BAR + "a", "a" + BAR + "b", " " + BAR + " ", BAR * 6, "<0x41> <0x0A>", "<s>", "a<s>b", " <s> ", "</s><s>", "x </s> y", "<unk>", "<s",
    "[INST] a [/INST]", "[INST]a[/INST] b", "<|begin_of_text|>", "a <|end_of_text|> b", "<|im_start|>user\nhi<|im_end|>\n", "<|endoftext|>",
    "<<s>>", "<s><s> <s>", "one word here", "a wordy word", "word", "words", "sword word\u00e9 word.", "a  <l>  b", "a  <r>  b", "a  <lr>  b",
    "<l><r><lr>", " <lr>\n\t<lr> ", "two words", "a two words b", "twowords", "caf\u00e9s cafe\u0301s", "<ab> <abc> <a <ab", "tok tokens token",
    "\u00c9TAT E\u0301TAT \u00e9tat",
    "a\u0301" * 12 + "b", "\u0f71\u0f72\u0f74 \u0f74\u0f72\u0f71", "https://example.org/a?b=c&d=%20#e", "\\n \\\\ \"quoted\" `code`",
]
PIECES = [" ", "  ", "\n", "\t", "\r\n", "a", "the", " model", "Window", "s", "'s", "'LL", "1", "2024", "\u00e9", "e\u0301", "\u65e5\u672c", "\U0001f600",
          "\u0301", "\0", "\u00a0", "\u2028", "\u017f", "\u180e", "\u0085", "<s>", "</s>", "<l>", "<r>", "<lr>", "word", "two words", "[INST]",
          "<|im_end|>", "<|end_of_text|>", "=", "(", "...", BAR, "<ab>", "<abc>"]


def texts():
    rng = random.Random(1)
    return TEXTS + ["".join(rng.choice(PIECES) for _ in range(rng.randint(2, 14))) for _ in range(60)]


def own_text():
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "src/attn").glob("*.c"))]
    return [f.read_text() for f in files] + [text.replace("\0", "") for text in TEXTS] * 3  # kedge has no U+0000 in JSON's keys


# ---- tokenizers -------------------------------------------------------------------------------------------------

def train(pre, normal, specials, size, **more):
    """The model's part of tokenizer.json: vocabulary and merges."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre
    if normal:
        t.normalizer = normal
    t.train_from_iterator(own_text(), trainers.BpeTrainer(vocab_size=size, special_tokens=specials, show_progress=False, **more))
    return json.loads(t.to_str())["model"]


def assemble(model, normal=None, pre=None, post=None, decoder=None, added=(), **keys):
    t = Tokenizer(models.BPE())
    for name, part in (("normalizer", normal), ("pre_tokenizer", pre), ("post_processor", post), ("decoder", decoder)):
        if part:
            setattr(t, name, part)
    parts = json.loads(t.to_str())
    parts["model"] = dict(model, **keys)
    t = Tokenizer.from_str(json.dumps(parts))
    for token in added:
        (t.add_special_tokens if token.special else t.add_tokens)([token])
    return t


def special(*names):
    return [AddedToken(name, special=True, normalized=False) for name in names]


def template(t_id, name):
    return processors.TemplateProcessing(single=f"{name} $A", pair=f"{name} $A {name}:1 $B:1", special_tokens=[(name, t_id)])


def piece_decoder():
    return decoders.Sequence([decoders.Replace(BAR, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def prepend():
    return normalizers.Sequence([normalizers.Prepend(BAR), normalizers.Replace(" ", BAR)])


def piece_model(specials, size):
    """Pieces as sentencepiece has them: runs of bars in front of what is none; other characters as bytes."""
    every_byte = [f"<0x{b:02X}>" for b in range(256)]
    pre = pre_tokenizers.Split(Regex(f"{BAR}+[^{BAR}]*"), "isolated")
    return train(pre, prepend(), specials + every_byte, size, limit_alphabet=110)


def llama2():
    names = ["<unk>", "<s>", "</s>"]
    return assemble(piece_model(names, 700), prepend(), None, template(1, "<s>"), piece_decoder(), special(*names),
                    unk_token="<unk>", fuse_unk=True, byte_fallback=True)


def mistral():
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[control_8]"]
    return assemble(piece_model(names, 700), None, pre_tokenizers.Metaspace(BAR, "first", False), template(1, "<s>"), piece_decoder(),
                    special(*names), unk_token="<unk>", fuse_unk=True, byte_fallback=True)


def crossing():
    """Pieces in which a bar stands behind another character, so that a text may not be cut before its bars; `always`."""
    names = ["<unk>", "<s>", "</s>"]
    every_byte = [f"<0x{b:02X}>" for b in range(256)]
    model = train(pre_tokenizers.Split(Regex(r"\n"), "isolated"), prepend(), names + every_byte, 560, limit_alphabet=90)
    return assemble(model, None, pre_tokenizers.Metaspace(BAR, "always", False), None, piece_decoder(), special(*names),
                    unk_token="<unk>", fuse_unk=True, byte_fallback=True)


def byte_model(pattern, normal, size):
    return train(pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, True, False)]),
                 normal, [], size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def byte_pre(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, True, False)])


def llama3():
    model = byte_model(LLAMA3, None, 640)
    # Words that merges do not reach: ignore_merges takes them whole.
    for word in ("\u0120unreachable", "Zyxwv", "\u00c3\u00a9t\u00c3\u00a9", "123"):
        model["vocab"][word] = len(model["vocab"])
    size = len(model["vocab"])
    post = processors.Sequence([processors.ByteLevel(True, False, True), template(size, "<|begin_of_text|>")])
    return assemble(model, None, byte_pre(LLAMA3), post, decoders.ByteLevel(), special("<|begin_of_text|>", "<|end_of_text|>"),
                    ignore_merges=True)


def qwen():
    return assemble(byte_model(QWEN, normalizers.NFC(), 640), normalizers.NFC(), byte_pre(QWEN), processors.ByteLevel(False, False, False),
                    decoders.ByteLevel(), special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))


def flags_of_tokens():
    """Every flag, with and without `normalized`; some are no special tokens."""
    return [AddedToken("<l>", lstrip=True, normalized=False, special=True), AddedToken("<r>", rstrip=True, normalized=False, special=True),
            AddedToken("<lr>", lstrip=True, rstrip=True, normalized=False), AddedToken("word", single_word=True, normalized=False),
            AddedToken("two words", normalized=True), AddedToken("caf\u00e9", normalized=True, special=True),
            AddedToken("E\u0301TAT", normalized=True, single_word=True), AddedToken("<a", normalized=False), AddedToken("<ab>", normalized=False),
            AddedToken("tok", normalized=True, rstrip=True, single_word=True)]


def flags_bytes():
    return assemble(byte_model(QWEN, normalizers.NFC(), 420), normalizers.NFC(), byte_pre(QWEN), None, decoders.ByteLevel(),
                    flags_of_tokens())


def flags_pieces():
    """Llama-2's shape as old conversions have it, the special tokens normalized; and an EOS behind the text."""
    names = ["<unk>", "<s>", "</s>"]
    post = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B", special_tokens=[("<s>", 1), ("</s>", 2)])
    added = [AddedToken(name, special=True, normalized=True) for name in names] + flags_of_tokens()
    return assemble(piece_model(names, 560), prepend(), None, post, piece_decoder(), added,
                    unk_token="<unk>", fuse_unk=True, byte_fallback=True)


def loose():
    """GPT-2's shape, with merges across words: where words are cut makes a difference."""
    model = train(pre_tokenizers.Sequence([pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.ByteLevel(False, True, False)]), None, [], 560,
                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    return assemble(model, None, pre_tokenizers.ByteLevel(True, True, True), processors.ByteLevel(True, False, True), decoders.ByteLevel(),
                    special("<|endoftext|>"), unk_token=None)


MAKERS = [llama2, mistral, crossing, llama3, qwen, flags_bytes, flags_pieces, loose]

# ---- parts ------------------------------------------------------------------------------------------------------

PART_TEXTS = ["", " ", "a", "the window of the model", " the  window, the model.\n", "  int64_t i = 0; i < n;  ", "a\n\nb\t c\u00a0d", "it's 12345 they'LL",
              BAR + "a b" + BAR, "ab--cd -- --", "\u00e9 e\u0301 \u65e5\u672c", "<s>the model</s> the<s>", "the<|endoftext|> the"]


# Expressions of published tokenizers, and what else an expression may have.
PUBLISHED = [
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}", r" ?\p{Han}+|[^\p{Han}]", r"\d{1,3}(?=(?:\d{3})*\b)", r"\w+|[^\w\s]+",
    r"(?<=a)b|(?<!e) ", "[A-Za-z\xb5\xc0-\xd6]+", r"[\x{3040}-\x{30ff}]+|.", r"(?>t|th)h?e", r"\bt\w*\b",
]


def parts():
    """(a tokenizer, what is put in the place of its own)"""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    for behavior in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            for pattern in ({"String": "-"}, {"Regex": " ?[a-z]+"}, {"Regex": "(?=-)|\\s"}):
                split = {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}
                yield "loose", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}}
    for pattern in PUBLISHED:
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        yield "loose", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}}
    for prefix in (False, True):
        for regex in (False, True):
            yield "loose", {"pre_tokenizer": dict(level, add_prefix_space=prefix, use_regex=regex)}
    yield "loose", {"pre_tokenizer": None}
    for pre in ({"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "Digits", "individual_digits": False}, {"type": "Digits", "individual_digits": True},
                {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Punctuation", "behavior": "Contiguous"}):
        yield "loose", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [pre, level]}}
        yield "crossing", {"pre_tokenizer": pre}
    for scheme in ("first", "always", "never"):
        for cut in (False, True):
            yield "crossing", {"pre_tokenizer": {"type": "Metaspace", "replacement": BAR, "prepend_scheme": scheme, "split": cut},
                               "decoder": {"type": "Metaspace", "replacement": BAR, "prepend_scheme": scheme, "split": cut}}
    yield "crossing", {"pre_tokenizer": {"type": "Metaspace", "replacement": BAR, "add_prefix_space": False, "prepend_scheme": "never"}}
    yield "crossing", {"pre_tokenizer": {"type": "Metaspace", "replacement": BAR, "add_prefix_space": True}}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": BAR}
    for normal in (None, replace, {"type": "NFC"}, {"type": "Prepend", "prepend": "the"}, dict(replace, pattern={"Regex": "[a-e]+"}, content="at"),
                   dict(replace, pattern={"String": "the"}, content=""), {"type": "Sequence", "normalizers": []},
                   {"type": "Sequence", "normalizers": [{"type": "NFC"}, replace, {"type": "Prepend", "prepend": BAR}]}):
        yield "crossing", {"normalizer": normal, "pre_tokenizer": None}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    back = {"type": "Replace", "pattern": {"String": BAR}, "content": " "}
    for decoder in (None, {"type": "Fuse"}, {"type": "ByteFallback"}, strip, dict(strip, start=2), {"type": "ByteLevel"} | level, back,
                    {"type": "Sequence", "decoders": [back, strip]}, {"type": "Sequence", "decoders": [{"type": "Fuse"}, back, dict(strip, start=3)]}):
        yield "crossing", {"decoder": decoder}
    model = {"type": "BPE", "unk_token": "?", "vocab": {"?": 0, "t": 1, "h": 2, "e": 3, " ": 4, "th": 5, "the": 6, "o": 7, "<0x0A>": 8},
             "merges": ["t h", "th e"]}
    for fuse in (False, True):
        for fallback in (False, True):
            for unknown in ("?", None):
                yield "crossing", {"model": dict(model, unk_token=unknown, fuse_unk=fuse, byte_fallback=fallback), "pre_tokenizer": None,
                                   "added_tokens": [], "decoder": None}


def part_line(name, change):
    file = json.loads((GOLDEN / name / "tokenizer.json").read_text()) | change
    t = Tokenizer.from_str(json.dumps(file))
    ids = [t.encode(text, add_special_tokens=False).ids for text in PART_TEXTS]
    return {"of": name, "put": change, "texts": [[text, i, t.decode(i, skip_special_tokens=False)] for text, i in zip(PART_TEXTS, ids)]}


# ---- vectors ----------------------------------------------------------------------------------------------------


def frame(t):
    """What the post-processor puts in front and behind."""
    ids, whole = t.encode("a", add_special_tokens=False).ids, t.encode("a").ids
    at = next(i for i in range(len(whole)) if whole[i:i + len(ids)] == ids)
    return whole[:at], whole[at + len(ids):]


def vectors(t):
    before, after = frame(t)
    for text in texts():
        t.encode_special_tokens = False
        ids, whole = t.encode(text, add_special_tokens=False).ids, t.encode(text).ids
        assert whole == before + ids + after
        line = {"text": text, "ids": ids, "before": before, "after": after}
        t.encode_special_tokens = True
        as_text = t.encode(text, add_special_tokens=False).ids
        if as_text != ids:
            line["as_text"] = as_text
        line |= {"decoded": t.decode(whole, skip_special_tokens=False), "plain": t.decode(whole, skip_special_tokens=True)}
        yield line
    rng = random.Random(2)
    some = [t.token_to_id(x) for x in ("<s>", "<|im_end|>", "<0xE2>", "<0x82>", "<0xAC>", "<0xF0>", "<0x0A>", "\u00e2", "\u0122", "\u00ac", BAR,
                                       "\u0120") if t.token_to_id(x) is not None]
    for i in range(40):
        ids = [rng.choice(some) if rng.random() < 0.6 else rng.randrange(t.get_vocab_size()) for _ in range(rng.randint(1, 9))]
        yield {"ids": ids, "decoded": t.decode(ids, skip_special_tokens=False), "plain": t.decode(ids, skip_special_tokens=True)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", nargs="+", default=[], metavar="NAME", help="makes tokenizer.json of these anew")
    again = parser.parse_args().train
    for make in MAKERS:
        folder = GOLDEN / make.__name__
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "tokenizer.json"
        if make.__name__ in again:
            path.write_text(make().to_str(pretty=False))
        t = Tokenizer.from_file(str(path))
        lines = list(vectors(t))
        (folder / "vectors.jsonl").write_text("".join(json.dumps(x, ensure_ascii=True, separators=(",", ":")) + "\n" for x in lines))
        differ = sum("as_text" in x for x in lines)
        print(f"{make.__name__}: {t.get_vocab_size()} ids, {path.stat().st_size} bytes, {len(lines)} lines, {differ} differ as text")
    lines = [part_line(name, change) for name, change in parts()]
    (GOLDEN / "parts.jsonl").write_text("".join(json.dumps(x, separators=(",", ":")) + "\n" for x in lines))
    print(f"parts.jsonl: {len(lines)} tokenizers")


main()
