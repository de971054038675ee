#!/usr/bin/env python3
"""Documents to learn retrieval from, as token records whose labels are the answers alone: a byte is a token.

usage: make_data.py PARTS OUT.jsonl KIND TOKENS SEED

PARTS is what `kedge eval ruler --write PARTS --tasks niah_single_1,niah_single_2,niah_multikey_2` wrote: its samples are
taken apart into sentences, keys and fillers, so that documents have the words of the evaluation. Which key has which number,
how many there are, where they stand and what lies between is drawn anew.

  repeats  digits, or a list of "KEY is N.", three times over; labels are the second and third time: to go on with what
           stood behind the same bytes before is all that can be learned
  short    pages of some hundred bytes: up to three facts in filler, then questions with their answers; half of the documents
           are lists, each time in another order
  long     pages of 200 to about 4000 bytes with up to eight facts, a third of them with one
"""
import json
import math
import random
import sys
from pathlib import Path

IGNORED = -100  # a label that no loss is counted for


class Parts:
    """Sentences with {key} and {value} in them, words of keys, and two fillers: a line, and the sentences of an essay."""

    def __init__(self, folder):
        noise, essay, facts = (self.samples(folder, task) for task in ("niah_single_1", "niah_single_2", "niah_multikey_2"))
        sample, value = noise[0], noise[0]["outputs"][0]
        self.intro, *lines, question = sample["input"].split("\n")
        fact = next(line for line in lines if value in line)
        key = next(word for word in fact.split() if "-" in word and word in sample["answer_prefix"])
        self.fact = fact.replace(value, "{value}").replace(key, "{key}")
        self.question = "\n" + (question + sample["answer_prefix"]).replace(key, "{key}")
        self.noise = next(line for line in lines if line != fact)
        text, hidden = " ".join(essay[0]["input"].split("\n")[1:-1]), essay[0]["outputs"][0]
        self.essay = [s for s in text.replace("? ", "?\n").replace(". ", ".\n").split("\n") if hidden not in s]
        before, after = self.fact.split("{value}")[0].split("{key}")
        lines = [line for each in facts for line in each["input"].split("\n") if line.startswith(before)]
        keys = [line[len(before):line.index(after)].split("-") for line in lines]
        self.first, self.second = sorted({key[0] for key in keys}), sorted({key[1] for key in keys})

    @staticmethod
    def samples(folder, task):
        """The samples of a task at the longest length that is there."""
        found = sorted(Path(folder).glob(f"*/data/{task}/validation.jsonl"), key=lambda path: int(path.parts[-4]))
        if not found:
            sys.exit(f"make_data.py: {folder} has no samples of {task}")
        return [json.loads(line) for line in open(found[-1], encoding="utf-8")]


class Record:
    """A text in two parallel lists, tokens and labels."""

    def __init__(self):
        self.tokens, self.labels = [], []

    def add(self, text, asked=False):
        data = list(text.encode())
        self.tokens += data
        self.labels += data if asked else [IGNORED] * len(data)

    def line(self):
        return json.dumps({"input_ids": self.tokens, "labels": self.labels}, separators=(",", ":"))


def draw_facts(parts, draw, count):
    facts = {}
    while len(facts) < count:
        facts[draw.choice(parts.first) + "-" + draw.choice(parts.second)] = str(draw.randrange(1000000, 10000000))
    return facts


def shuffled(facts, draw):
    return draw.sample(list(facts.items()), len(facts))


def write_repeats(parts, draw):
    if draw.random() < 0.5:
        text = "".join(draw.choice("0123456789") for _ in range(draw.randint(7, 24))) + "\n"
    else:
        text = "".join(f"{key} is {value}.\n" for key, value in draw_facts(parts, draw, draw.randint(1, 2)).items())
    record = Record()
    for turn in range(3):
        record.add(text[0])
        record.add(text[1:], asked=turn > 0)
    return record


def write_list(parts, draw):
    record, facts = Record(), draw_facts(parts, draw, draw.randint(1, 4))
    for turn in range(3):
        for key, value in shuffled(facts, draw):
            record.add(f"{key} is")
            record.add(f" {value}.", asked=turn > 0)
            record.add("\n")
    return record


def write_page(parts, draw, count, size, filler):
    """So many facts among filler, then a question about each; about size bytes, or as long as facts and questions are."""
    record, facts = Record(), draw_facts(parts, draw, count)
    sentences = [parts.fact.format(key=key, value=value) for key, value in facts.items()]
    questions = [(parts.question.format(key=key), value) for key, value in shuffled(facts, draw)]
    room = size - sum(map(len, sentences)) - sum(len(text) + len(value) + 2 for text, value in questions)
    begin, lines = draw.randrange(len(parts.essay)), []
    while room > 0:
        lines.append(parts.noise if filler == "noise" else parts.essay[(begin + len(lines)) % len(parts.essay)])
        room -= len(lines[-1]) + 1
    for sentence in sentences:
        lines.insert(draw.randint(0, len(lines)), sentence)
    if count == 1 or draw.random() < 0.5:
        record.add(parts.intro + "\n")
    record.add(("\n" if filler == "noise" else " ").join(lines))
    for text, value in questions:
        record.add(text)
        record.add(f" {value}.", asked=True)
    return record


def page(parts, draw, most, longest):
    count = 1 if draw.random() < 1 / 3 else draw.randint(1, most)
    size = math.exp(draw.uniform(math.log(200), math.log(longest)))
    return write_page(parts, draw, count, size, draw.choice(("noise", "essay")))


KINDS = {
    "repeats": write_repeats,
    "short": lambda parts, draw: write_list(parts, draw) if draw.random() < 0.5 else page(parts, draw, 3, 500),
    "long": lambda parts, draw: page(parts, draw, 8, 3800),
}


def main():
    if len(sys.argv) != 6 or sys.argv[3] not in KINDS:
        sys.exit(__doc__.strip())
    _, folder, path, kind, tokens, seed = sys.argv
    parts, draw, left = Parts(folder), random.Random(int(seed)), int(tokens)
    with open(path, "w", encoding="utf-8") as out:
        while left > 0:
            record = KINDS[kind](parts, draw)
            left -= len(record.tokens) + 1  # and BOS
            print(record.line(), file=out)


main()
