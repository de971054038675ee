#!/bin/bash
# What kedge pack tells of what it made: the table, the files of the report, and kedge info. Usage: tests/cli_pack.sh build/gcc
. tests/command.sh

mkdir data
for set in C4 Book Github; do
    numbered 30 | sed "s/}\$/, \"meta\": {\"redpajama_set_name\": \"RedPajama$set\"}}/" >data/$set.jsonl
done
printf '{"text": ""}\n' >>data/C4.jsonl
cat >run.yaml <<'YAML'
model: {init: {arch: llama, preset: tiny}}
tokenizer: bytes
data:
  train: ["data/*.jsonl"]
  valid: [data/Book.jsonl]
  mixture: {C4: 0.5, Book: 0.3}
  upsample: {shorter_than: 300, keep: 0.5}
window: 256
mask: anchor
tag: true
steps: 1
output: runs/a
YAML
# value FILE PATH: what Python's JSON reads there
value() { python3 -c 'import json, sys
at = json.load(open(sys.argv[1]))
for key in sys.argv[2].split("."): at = at[int(key)] if isinstance(at, list) else at[key]
print(at)' "$1" "$2"; }
# alone FILE: a page that loads nothing and runs nothing
alone() { grep -q '^</html>$' "$1" && ! grep -qiE '<script|https?:|src="[^d]|<link' "$1"; }

try pack run.yaml --out p
[ $code -eq 0 ] && grep -q '^train$' out && grep -q '^valid$' out && grep -q '^source  *documents' out; ok $? "a table of both parts"
[ "$(awk '{ if (length > most) most = length } END { print most }' out)" -le 100 ]; ok $? "of at most 100 columns"
grep -q 'source without a share' out && grep -q 'thinned by upsampling' out && grep -q '^empty documents  *1$' out
ok $? "what was lost, by cause"
grep -q 'a token of text sees .* tokens with mask full' out && grep -q 'attention against full: document' out; ok $? "what tokens see"
[ ! -s err ] || grep -q 'packed' err; ok $? "messages go to stderr"
alone p/report.html && [ "$(head -1 p/report.csv)" = part,source,what,documents,tokens,share_of_documents,share_of_tokens ]
ok $? "a page that stands alone, and a table for spreadsheets"
cp -r p first
try bench attention --pack p --tokenizer bytes --windows 2 --against-full --heads 1 --size 16 --seconds 0 --json
[ $code -eq 0 ] && grep -q '"tokens": 256, "windows": 2, .*"time_of_full"' out; ok $? "attention is measured on a pack's windows"
try bench attention --pack p --tokenizer bytes --windows 1M; says 2 "--windows 1048576: p has "

try pack run.yaml --out p --json
[ $code -eq 0 ] && [ "$(cat out)" = "$(cat p/report.json)" ]; ok $? "--json prints report.json"
if command -v python3 >/dev/null; then
    python3 -c 'import json, sys
for name, part in json.load(open("p/report.json"))["parts"].items():
    windows = part["windows"]
    assert sum(windows["kinds"].values()) == windows["count"] * windows["tokens"], name
    for row in part["sources"] + [part["all"]]:
        lost = sum(cause["tokens"] for cause in row["lost"].values())
        assert row["corpus"]["tokens"] == row["windows"]["tokens"] + lost, row["name"]
        for when in "corpus", "chosen":
            assert sum(bin["tokens"] for bin in row["lengths"][when]) == row[when]["tokens"], row["name"]
    assert sum(row["windows"]["tokens"] for row in part["sources"]) == windows["kinds"]["text"], name' 2>err
    ok $? "every token is in one place, by source and in all"
    [ "$(value p/report.json parts.train.sources.0.name)" = Book ] || [ "$(value p/report.json parts.train.sources.0.name)" = C4 ]
    ok $? "sources have names"
    python3 -c 'import csv
rows = list(csv.DictReader(open("p/report.csv")))
assert {row["part"] for row in rows} == {"train", "valid"} and all(None not in row for row in rows)' 2>err
    ok $? "the table parses"
else
    echo "skipped: JSON and CSV read by Python: there is none"
fi

diff -r first p >err;                                                 ok $? "packed again: the same bytes"
try pack run.yaml --out q --quiet --set threads=1
try pack run.yaml --out r --quiet --set threads=2
diff -r q r >err && diff -r p r >err;                                 ok $? "with one thread and with two: the same bytes"
try pack run.yaml --out p --set mask=full --set tag=false --set data.mixture='{C4: 1}'
[ $code -eq 0 ] && grep -q ' BOS$' out && ! cmp -s first/report.json p/report.json; ok $? "packed otherwise: another report"

try info q
[ $code -eq 0 ] && grep -q '^pack of windows  *256 tokens each, an anchor, tags;' out && grep -q "windows' file  *complete" out &&
    grep -q '3 shards\|1 shard' out && grep -q '^    Book  *[0-9.]*  *37.50 ' out
ok $? "info says what a pack holds"
try info q --json
[ $code -eq 0 ] && { ! command -v python3 >/dev/null || [ "$(value out parts.train.state)" = complete ]; }; ok $? "as JSON"
try info q/tokens/valid
[ $code -eq 0 ] && grep -q '^token store' out && grep -q '^tokens  *30 documents' out; ok $? "and what a token store holds"
try info q/tokens/train --json
[ $code -eq 0 ] && grep -q '"empty": 1' out && grep -q '"state": "complete"' out; ok $? "as JSON"
printf x >>q/train.safetensors; rm q/tokens/valid/tokens-00001.safetensors
try info q
[ $code -eq 0 ] && grep -q "windows' file.*q/train.safetensors: [0-9]* bytes, [0-9]* were written" out && grep -q 'their files.*tokens-00001.safetensors' out
ok $? "and what is wrong with either"
rm q/report.json
try info q
[ $code -eq 0 ] && grep -q '^train' out && ! grep -q 'share of tokens' out; ok $? "a pack without its report"
printf '{"format": "kedge pack"' >q/pack.json
try info q; says 1 'q/pack.json'
echo done
