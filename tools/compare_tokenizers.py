#!/usr/bin/env python3
"""kedge tokenize beside Hugging Face's `tokenizers`: the same ids and texts, and how fast.

    python tools/compare_tokenizers.py --tokenizer llama2=DIR ... --corpus 'DIR/**/*.jsonl.zst' --exact --speed --long

  --exact   every document's ids with and without what the post-processor adds, and with special tokens taken as text, and
            what the ids decode to, with special tokens and without: documents that are the same of all
  --random N  the same of N short texts of random characters of all kinds, most of them from a few that patterns know
  --speed   one thread, documents of --bytes bytes in all that stand in memory (kedge: read before the clock starts),
            the two programs taking turns; medians of --repeat runs, and the median of the ratios. Seconds are the
            processor's: what else the machine does is not counted
  --long    one text that is a short string repeated, at 1 and 2 MB: the best of 3 runs

Prints tables. Needs the packages tokenizers and zstandard. Run with Python 3.11.7, tokenizers 0.23.3.
"""
import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # read when the package is loaded
os.environ["RAYON_NUM_THREADS"] = "1"

import argparse
import copy
import glob
import hashlib
import io
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
from pathlib import Path

import zstandard
from tokenizers import Tokenizer

RUNS = {"spaces": " ", "a": "a", "newlines": "\n", "two marks out of order": "\u0307\u0323", "ideographs": "\u65e5\u672c",
        "hexadecimal words": None}


def documents(paths):
    """Every text in order, as `kedge tokenize` has them."""
    for path in paths:
        with open(path, "rb") as file:
            data = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) if path.endswith(".zst") else file
            for line in io.TextIOWrapper(data, encoding="utf-8", newline="\n"):
                if line.strip():
                    yield json.loads(line)["text"]


def start(args, tokenizer, *options):
    return subprocess.Popen([args.kedge, "tokenize", "--tokenizer", tokenizer, *options], stdout=subprocess.PIPE, encoding="utf-8")


def finish(process):
    if process.wait():
        sys.exit("kedge failed")


def load(tokenizer):
    path = Path(tokenizer)
    return Tokenizer.from_file(str(path / "tokenizer.json" if path.is_dir() else path))


# ---- exactness --------------------------------------------------------------------------------------------------

def digest(text):
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def kept(args, key, lines):
    """The lines, out of a file that an earlier run of the same corpus and tokenizer left in --cache."""
    if not args.cache:
        return lines()
    path = Path(args.cache) / digest(f"{key} {args.paths}")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".tmp").write_text("".join(line + "\n" for line in lines()))
        path.with_suffix(".tmp").rename(path)
    return iter(path.read_text().splitlines())


def batches(texts):
    batch = []
    for text in texts:
        batch.append(text)
        if len(batch) == 64:
            yield batch
            batch = []
    yield batch


def ids_of(args, tokenizer, t, add, as_text):
    """A digest and a count for each document."""
    def lines():
        t.encode_special_tokens = as_text
        for batch in batches(documents(args.paths)):
            for encoding in t.encode_batch_fast(batch, add_special_tokens=add):
                yield f"{digest(' '.join(map(str, encoding.ids)))} {len(encoding.ids)}"
        t.encode_special_tokens = False
    return kept(args, ("ids", tokenizer, add, as_text), lines)


def same_ids(args, tokenizer, t, add, as_text, keep):
    """Documents with the same ids, of all; the ids of kedge go to the file `keep`."""
    wanted = ids_of(args, tokenizer, t, add, as_text)
    options = ([] if add else ["--no-specials"]) + (["--specials-as-text"] if as_text else [])
    process = start(args, tokenizer, *options, *args.paths)
    same = tokens = number = 0
    for line in process.stdout:
        hexadecimal, count = next(wanted).split()
        tokens += int(count)
        number += 1
        if digest(line.rstrip("\n")) == hexadecimal:
            same += 1
        elif number - same < 4:
            print(f"{tokenizer}: document {number} differs", file=sys.stderr)
        if keep:
            keep.write(line)
    finish(process)
    assert next(wanted, None) is None
    return same, number, tokens


def same_texts(args, tokenizer, t, path, skip):
    """Of the ids in a file, which are the same ones for both."""
    def lines():
        with open(path) as file:
            for line in file:
                yield digest(t.decode(list(map(int, line.split())), skip_special_tokens=skip))
    wanted = kept(args, ("texts", tokenizer, skip), lines)
    process = start(args, tokenizer, "--decode", "--json", *(["--no-specials"] if skip else []), path)
    same = number = 0
    for line in process.stdout:
        same += digest(json.loads(line)["text"]) == next(wanted)
        number += 1
    finish(process)
    return same, number


def exactness(args):
    print("| | tokens | ids | ids, nothing added | special tokens as text | decoded | decoded, specials left out |\n|---|---|---|---|---|---|---|")
    whole = True
    for name, tokenizer in args.tokenizers:
        t = load(tokenizer)
        with tempfile.NamedTemporaryFile("w", suffix=".ids") as keep:
            counts = [same_ids(args, tokenizer, t, True, False, keep)]
            keep.flush()
            counts += [same_ids(args, tokenizer, t, False, False, None), same_ids(args, tokenizer, t, False, True, None)]
            counts += [same_texts(args, tokenizer, t, keep.name, skip) for skip in (False, True)]
        whole &= all(c[0] == c[1] for c in counts)
        print(f"| {name} | {counts[0][2]:,} | " + " | ".join(f"{c[0]:,} of {c[1]:,}" for c in counts) + " |", flush=True)
    return whole


SOME = [" ", " ", "  ", "\n", "\r\n", "\t", "\x0b", "\x1c", "a", "The", "model", "s", "'s", "'LL", "'", "1", "2024", ".", "--", "(", "_", "\0",
        "\u00a0", "\u0085", "\u2028", "\u3000", "\u180e", "\u200b", "\ufeff", "\u00e9", "e\u0301", "\u0301", "\u017f", "\u212a", "\u01c5", "\u0416",
        "\u05d0", "\u0915\u094d", "\u65e5\u672c", "\ud55c", "\u1100\u1161", "\u0663", "\u00bd", "\u2167", "\U0001d7d8", "\U00010348",
        "\U0001f600", "\U0001f468\u200d\U0001f469", "\u2581", "<s>", "</s>", "[INST]", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<0x41>"]


def random_text(rng):
    def any_character():
        while True:
            c = chr(rng.randrange(rng.choice((0x800, 0x3000, 0x20000, 0x110000))))
            if unicodedata.category(c) not in ("Cs", "Cn"):
                return c
    return "".join(any_character() if rng.random() < 0.15 else rng.choice(SOME) for _ in range(rng.randint(1, 24)))


def randomly(args):
    """Exactness of made texts. Characters that Unicode 14 does not have are left out: versions differ about what they are."""
    rng = random.Random(args.random)
    args = copy.copy(args)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({"text": random_text(rng)}) + "\n" for _ in range(args.random))
        file.flush()
        args.paths = [file.name]
        return exactness(args)


# ---- speed ------------------------------------------------------------------------------------------------------

def kedge_seconds(args, tokenizer, path):
    process = start(args, tokenizer, "--stats", "--json", "--threads", "1", path)
    stats = json.loads(process.stdout.read())
    finish(process)
    return stats["processor_seconds"], stats["tokens"]


def timed(run):
    begin = time.process_time()
    run()
    return time.process_time() - begin


def one_by_one(t, texts):
    for text in texts:
        t.encode(text)


def in_batches(t, texts):
    for i in range(0, len(texts), 64):
        t.encode_batch(texts[i:i + 64])


def sample(args):
    """Documents spread over the corpus, of `--bytes` bytes or a little more."""
    texts = list(documents(args.paths))
    total = sum(len(x.encode()) for x in texts)
    step = max(1, total // args.bytes)
    return texts[::step]


def speed(args):
    texts = sample(args)
    size = sum(len(x.encode()) for x in texts)
    print(f"{len(texts):,} documents, {size / 1e6:.2f} MB, {args.repeat} runs\n")
    print("| | kedge, MB/s | kedge, M tokens/s | tokenizers, encode, MB/s | encode_batch, MB/s | kedge to encode | to encode_batch |\n|---|---|---|---|---|---|---|")
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({"text": x}) + "\n" for x in texts)
        file.flush()
        for name, tokenizer in args.tokenizers:
            t = load(tokenizer)
            t.encode(texts[0])
            runs = []
            for _ in range(args.repeat):
                k, tokens = kedge_seconds(args, tokenizer, file.name)
                runs.append((k, timed(lambda: one_by_one(t, texts)), timed(lambda: in_batches(t, texts))))
            k, one, batch = (statistics.median(r[i] for r in runs) for i in range(3))
            ratios = [statistics.median(r[i] / r[0] for r in runs) for i in (1, 2)]
            print(f"| {name} | {size / k / 1e6:.1f} | {tokens / k / 1e6:.2f} | {size / one / 1e6:.2f} | {size / batch / 1e6:.2f} | "
                  f"{ratios[0]:.1f} x | {ratios[1]:.1f} x |", flush=True)


# ---- long runs --------------------------------------------------------------------------------------------------

def repeated(unit, size):
    if unit is None:  # no two are the same
        return "".join(f" {i * 2654435761 % 2**32:08x}" for i in range(size // 9))
    return unit * (size // len(unit.encode()))


def long_runs(args):
    names = [name for name, _ in args.tokenizers]
    print("| seconds at 1 MB, 2 MB | " + " | ".join(f"{n}: kedge | tokenizers" for n in names) + " |\n|---" * 1 + "|" + "---|" * (2 * len(names) + 1))
    loaded = [(tokenizer, load(tokenizer)) for _, tokenizer in args.tokenizers]
    for name, unit in RUNS.items():
        row = [name]
        for tokenizer, t in loaded:
            cells = ([], [])
            for size in (10**6, 2 * 10**6):
                text = repeated(unit, size)
                with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8", newline="") as file:
                    file.write(text)
                    file.flush()
                    cells[0].append(f"{min(kedge_seconds(args, tokenizer, file.name)[0] for _ in range(3)):.3f}")
                cells[1].append(f"{min(timed(lambda: t.encode(text)) for _ in range(args.long_repeat)):.3f}")
            row += [", ".join(c) for c in cells]
        print("| " + " | ".join(row) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", action="append", required=True, metavar="NAME=DIR", help="several may be given")
    parser.add_argument("--corpus", action="append", required=True, metavar="PATTERN", help="JSON lines, plain or zstd")
    parser.add_argument("--kedge", default="build/kedge")
    parser.add_argument("--cache", metavar="DIR", help="what tokenizers makes of the corpus is kept there for the next run of --exact")
    parser.add_argument("--bytes", type=int, default=16 << 20)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--long-repeat", type=int, default=1)
    parser.add_argument("--random", type=int, default=0, metavar="N")
    for part in ("exact", "speed", "long"):
        parser.add_argument("--" + part, action="store_true")
    args = parser.parse_args()
    args.tokenizers = [tuple(t.split("=", 1)) for t in args.tokenizer]
    args.paths = sorted({p for pattern in args.corpus for p in glob.glob(pattern, recursive=True)})
    whole = not args.exact or exactness(args)
    whole &= not args.random or randomly(args)
    if args.speed:
        speed(args)
    if args.long:
        long_runs(args)
    sys.exit(0 if whole else 1)


main()
