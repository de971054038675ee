#!/bin/bash
# examples/retrieval, in small: documents, two steps of each stage, a question. Usage: tests/cli_retrieval.sh build/gcc
example=$(realpath examples/retrieval)
case $(basename "$1") in
    *-address*|*-thread*) echo "skipped: examples/retrieval: it trains for minutes under a sanitizer"; echo done; exit 0 ;;
esac
. tests/command.sh
mkdir -p examples && ln -s "$example" examples/retrieval
export KEDGE=$kedge OUT=out TOKENS=40000 VALID=20000 STEPS=2 SAMPLES=1 THREADS=1
sed 's/cd "$(dirname "$0")\/..\/.."//' "$example/run" >run

sh run >out.txt 2>err; ok $? "documents, three stages, RULER"
awk '$1 == "step" { on = 1; next } on && $1 == 2 { found = 1 } END { exit !found }' out.txt; ok $? "the export is asked"
[ -s out/ruler/report.html ] && [ "$(wc -l <out/ruler/step-2/answers.jsonl)" -eq 9 ]; ok $? "three tasks at three lengths"
grep -q '>average<' out/ruler/chart.svg && grep -q '>1024<' out/ruler/chart.svg && \
    grep -q '>perplexity<' out/ruler/chart-2.svg; ok $? "a curve for each length, perplexity beside"

# What the documents are.
"$kedge" eval ruler --write asked --tokenizer bytes --tasks niah_single_1 --lengths 1K --samples 20 >/dev/null 2>err
python3 - <<'PY'
import json, re
sample = [json.loads(line) for line in open("asked/1024/data/niah_single_1/validation.jsonl")]
number = re.compile(r"(\S+) is (\d{7})\.")
records = lambda kind: [json.loads(line) for line in open(f"out/{kind}.jsonl")]
for record in records("repeats"):
    tokens, labels = record["input_ids"], record["labels"]
    once = len(tokens) // 3
    assert tokens == 3 * tokens[:once] and 8 <= once < 100
    assert labels == [-100] * once + 2 * ([-100] + tokens[1:once])
for kind in "short", "long":
    most = facts = 0
    for record in records(kind):
        tokens, labels = record["input_ids"], record["labels"]
        assert len(tokens) == len(labels) and all(l in (-100, t) for t, l in zip(tokens, labels))
        text = bytes(tokens).decode()
        learned = re.findall(r"_ (\d+)\.", bytes(l if l >= 0 else 95 for l in labels).decode())
        given = {}
        for key, value in number.findall(text): assert given.setdefault(key, value) == value, "two numbers of a key"
        assert len(learned) * 9 == sum(l >= 0 for l in labels), "more than answers"
        assert set(learned) == set(given.values()), "an answer that the text does not have"
        most, facts = max(most, len(tokens)), max(facts, len(given))
    assert {"short": 400 < most < 900, "long": 3000 < most < 4096}[kind], most
    assert facts == {"short": 4, "long": 8}[kind], facts
# as it is asked
s = sample[0]
key, value = number.findall(s["input"])[0]
asked = (s["input"].split("\n")[-1] + s["answer_prefix"] + " ").replace(key, "KEY")
texts = [bytes(record["input_ids"]).decode() for record in records("long")]
for text in texts:
    key, value = number.findall(text)[-1]
    assert text.replace(key, "KEY").endswith(asked + value + "."), text
    assert f"the one of {key} is {value}." in text
numbers = {v for text in texts for _, v in number.findall(text)}
assert not numbers & {s["outputs"][0] for s in sample}, "a number that is asked has been learned"
PY
ok $? "facts, questions as RULER's, labels of the answers alone"
cp out/short.jsonl before && rm out/short.jsonl && sh run >again.txt 2>err; ok $? "a second call"
cmp -s out/short.jsonl before; ok $? "the same seed, the same documents"
grep -q '^RULER' again.txt && cmp -s again.txt out.txt; ok $? "and the same scores"
python3 "$example/make_data.py" out/parts x.jsonl larger 1000 1 >/dev/null 2>err; code=$?
[ $code -eq 1 ] && grep -q '^usage' err && [ ! -e x.jsonl ]; ok $? "another kind is answered with what there is"
python3 "$example/make_data.py" nowhere x.jsonl long 1000 1 >/dev/null 2>err; code=$?
says 1 "nowhere has no samples of niah_single_1"
echo done
