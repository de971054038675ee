#!/usr/bin/env python3
"""Data of the part `span`: documents of known lengths, and facts to recall, out of a corpus. A byte is a token.

usage: span_data.py CORPUS OUT SEED

  OUT/repeats.jsonl  lines three times over
  OUT/pages.jsonl    pieces of the corpus, pages and repeats, a third of the tokens each, none over 1000 bytes
  OUT/short.jsonl    pieces, and a tenth of pages, none over 1000 bytes
  OUT/long.jsonl     the same, but a tenth of the tokens is in pieces and pages, as many of each, of 4096 to 8000 bytes
  OUT/valid.jsonl    documents of 8191 bytes of the validation split: with BOS or anchor each fills a window of 8K, and every
                     mask is then the same
  OUT/far.jsonl      pages of 800 to 1000 bytes, and a third of the tokens in pieces
  OUT/repeats-valid.jsonl, pages-valid.jsonl, far-valid.jsonl    repeats, and pages out of the validation split
  OUT/recall/N/data/niah_single_1/validation.jsonl   for `kedge eval ruler --data`: prompts of N - 200 tokens at most that
                     ask for a fact which stands N - 256 bytes before the answer

A repeat is a line, random or a fact, three times over; its labels are the second and third: before it can recall, a model
has to learn to go on as it went on before. A page is text of the corpus with one to six lines "Code KEYVALUE." put into it,
five letters and five digits; then each is asked, "Code KEY". Its labels are the answers alone, "VALUE.", all of which stand
in the page.
"""
import io
import json
import random
import subprocess
import sys
from pathlib import Path

IGNORED = -100
SHORT, FAR, LONG = (200, 1000), (800, 1000), (4096, 8000)
LENGTHS, PROMPTS = (512, 1024, 2048, 4096, 8192), 32
KEY, VALUE = "abcdefghijklmnopqrstuvwxyz", "0123456789"


def texts(folder):
    """The bytes of each document, files in the order of their names."""
    for path in sorted(Path(folder).glob("**/*.jsonl.zst")):
        lines = subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout
        for line in io.BytesIO(lines):
            yield json.loads(line)["text"].encode()


class Cuts:
    """Pieces of wanted sizes, each of one document, which are drawn with a chance that goes with their lengths."""

    def __init__(self, documents, draw):
        self.documents, self.draw = documents, draw
        self.sizes = [len(document) for document in documents]

    def cut(self, size):
        while True:
            document = self.draw.choices(self.documents, self.sizes)[0]
            if len(document) >= size:
                start = self.draw.randrange(len(document) - size + 1)
                return document[start:start + size]


def facts(draw, count):
    found = {}
    while len(found) < count:
        found["".join(draw.choices(KEY, k=5))] = "".join(draw.choices(VALUE, k=5))
    return list(found.items())


def fact(key, value):
    return f"\nCode {key}{value}.\n".encode()


def page(cuts, size):
    """Token record of about `size` bytes."""
    draw = cuts.draw
    known = facts(draw, draw.randint(1, 6))
    asked = draw.sample(known, len(known))
    lines = [fact(*each) for each in known]
    text = cuts.cut(max(40, size - 2 * sum(map(len, lines))))
    places = sorted(draw.randint(0, len(text)) for _ in lines)
    ends = [0, *places, len(text)]
    body = b"".join(text[a:b] + line for a, b, line in zip(ends, ends[1:], [*lines, b""]))
    tokens, labels = list(body), [IGNORED] * len(body)
    for key, value in asked:
        question, answer = f"\nCode {key}".encode(), f"{value}.".encode()
        tokens += [*question, *answer, *b"\n"]
        labels += [IGNORED] * len(question) + [*answer, IGNORED]
    return {"input_ids": tokens, "labels": labels}


def piece(cuts, size):
    tokens = list(cuts.cut(size))
    return {"input_ids": tokens, "labels": tokens}


def write(path, total, draw_record):
    with open(path, "w", encoding="utf-8") as out:
        while total > 0:
            record = draw_record()
            total -= len(record["input_ids"])
            out.write(json.dumps(record, separators=(",", ":")) + "\n")


def repeat(cuts):
    draw = cuts.draw
    if draw.random() < 0.5:
        line = fact(*facts(draw, 1)[0])
    else:
        line = "".join(draw.choices(KEY + VALUE, k=draw.randint(8, 40))).encode() + b"\n"
    return {"input_ids": [*line] * 3, "labels": [IGNORED] * len(line) + [*line] * 2}


def mixed(kinds):
    """Draws records of kinds, each a share of the tokens and a function, so that the shares are right at any moment."""
    tokens = [0] * len(kinds)

    def record():
        behind = [share * sum(tokens) - have for (share, _), have in zip(kinds, tokens)]
        kind = behind.index(max(behind))
        drawn = kinds[kind][1]()
        tokens[kind] += len(drawn["input_ids"])
        return drawn

    return record


def prompt(cuts, length):
    """The asked fact's value stands length - 256 bytes before the answer, three other facts between them."""
    draw, distance = cuts.draw, length - 256
    (key, value), *others = facts(draw, 4)
    question = f"\nCode {key}".encode()
    lines = [fact(*each) for each in others]
    room = distance - len(value) - len(".\n") - len(question) - sum(map(len, lines))
    text = cuts.cut(room)
    ends = [0, *sorted(draw.randint(0, room) for _ in lines), room]
    between = b"".join(text[a:b] + line for a, b, line in zip(ends, ends[1:], [*lines, b""]))
    text = (fact(key, value) + between + question).decode("utf-8", "replace")
    return {"input": text, "outputs": [value], "length": length}


def ascii_only(documents):
    return [document for document in documents if document.isascii()]


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__.strip())
    corpus, out, draw = Path(sys.argv[1]), Path(sys.argv[2]), random.Random(int(sys.argv[3]))
    train, held = Cuts(list(texts(corpus / "train")), draw), Cuts(list(texts(corpus / "validation")), draw)
    out.mkdir(parents=True, exist_ok=True)

    def some(kind, cuts, bounds):
        return lambda: kind(cuts, draw.randint(*bounds))

    pieces, pages = some(piece, train, SHORT), some(page, train, SHORT)
    far_pieces, far_pages = some(piece, train, LONG), some(page, train, LONG)
    write(out / "repeats.jsonl", 1_500_000, lambda: repeat(train))
    write(out / "repeats-valid.jsonl", 70_000, lambda: repeat(train))
    write(out / "pages.jsonl", 3_000_000, mixed([(1 / 3, pieces), (1 / 3, pages), (1 / 3, lambda: repeat(train))]))
    write(out / "pages-valid.jsonl", 70_000, some(page, held, SHORT))
    write(out / "short.jsonl", 1_000_000, mixed([(0.9, pieces), (0.1, pages)]))
    write(out / "long.jsonl", 1_000_000, mixed([(0.85, pieces), (0.05, pages), (0.05, far_pieces), (0.05, far_pages)]))
    write(out / "valid.jsonl", 16 * 8191, lambda: piece(held, 8191))
    plain = Cuts(ascii_only(held.documents), draw)  # so that a character is a token
    for length in LENGTHS:
        folder = out / "recall" / str(length) / "data" / "niah_single_1"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "validation.jsonl", "w", encoding="utf-8") as file:
            for index in range(PROMPTS):
                file.write(json.dumps({"index": index, **prompt(plain, length)}) + "\n")
    write(out / "far.jsonl", 2_500_000, mixed([(1 / 3, pieces), (2 / 3, some(page, train, FAR))]))
    write(out / "far-valid.jsonl", 70_000, some(page, held, FAR))


main()
