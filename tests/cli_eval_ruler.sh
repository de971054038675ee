#!/bin/bash
# kedge eval ruler as a user meets it: samples made, written and read, answers that are gone on with, checkpoints, and what is refused.
# Usage: tests/cli_eval_ruler.sh build/gcc
. tests/command.sh

"$kedge" init model --preset tiny 2>err; ok $? "a model of bytes"
three="--tasks niah_single_1,vt,fwe --lengths 2K,3K --samples 4"

# same A B: the results of two folders, but for times
same() { python3 - "$1" "$2" <<'PY'
import json, sys
a, b = (json.load(open(x + "/result.json")) for x in sys.argv[1:3])
a.pop("time"), b.pop("time")
assert a == b, "different"
PY
}

# made here
try eval ruler --model model $three --out whole
[ $code -eq 0 ] && grep -q '^task  *2048  *3072$' out && grep -q '^average  *[0-9.]*  *[0-9.]*$' out; ok $? "three tasks at two lengths"
for file in settings.json answers.jsonl result.json result.csv stderr.csv averages.csv report.html chart.svg 2048/pred/summary.csv 3072/pred/vt.jsonl; do
    [ -s whole/$file ] || { ok 1 "$file is there"; break; }
done
[ "$(wc -l <whole/answers.jsonl)" -eq 24 ]; ok $? "a line a sample"
python3 - <<'PY'
import csv, json
for length in 2048, 3072:
    for task in "niah_single_1", "vt", "fwe":
        rows = [json.loads(line) for line in open(f"whole/{length}/pred/{task}.jsonl")]
        assert [r["index"] for r in rows] == [0, 1, 2, 3]
        for r in rows:
            assert isinstance(r["pred"], str) and isinstance(r["input"], str) and r["others"] == {} and r["truncation"] == -1
            assert r["outputs"] and all(isinstance(x, str) for x in r["outputs"]) and 0 < r["length"] <= length
            assert len(r["input"].encode()) + {"niah_single_1": 128, "vt": 30, "fwe": 50}[task] == r["length"]
    table = list(csv.reader(open(f"whole/{length}/pred/summary.csv")))
    assert table[0] == ["0", "1", "2", "3"] and table[1] == ["Tasks", "niah_single_1", "vt", "fwe"]
    assert [float(x) for x in table[2][1:]] == [0, 0, 0] and all(x.endswith("/4") for x in table[3][1:])
PY
ok $? "predictions have what RULER's evaluate.py reads"
try eval ruler --model model $three --out again --batch 3 --threads 1
[ $code -eq 0 ] && cmp -s again/3072/pred/fwe.jsonl whole/3072/pred/fwe.jsonl && same again whole; ok $? "the same answers, whatever is read at once"
try eval ruler --model model --tasks vt,fwe --lengths 2K --samples 1 --json
[ $code -eq 0 ] && python3 -c 'import json; r = json.load(open("out")); assert len(r["tables"]["ruler"]) == 3 and r["settings"]["seed"] == 42 and r["scores"]["2048"] == 0'
ok $? "--json, without a folder"

# gone on with
"$kedge" eval ruler --model model $three --out killed --batch 1 >/dev/null 2>&1 &
pid=$!
for _ in $(seq 400); do [ "$(cat killed/answers.jsonl 2>/dev/null | wc -l)" -ge 4 ] && break; sleep 0.02; done
kill -9 $pid 2>/dev/null; wait $pid 2>/dev/null
n=$((n + 1)); before=$(wc -l <killed/answers.jsonl)
[ "$before" -ge 4 ] && [ "$before" -lt 24 ] && [ ! -e killed/result.json ] && echo "ok $n killed on its way" || echo "not ok $n killed on its way: $before answers"
head -c $(($(wc -c <killed/answers.jsonl) - 9)) killed/answers.jsonl >cut && cp cut killed/answers.jsonl
try eval ruler --model model $three --out killed
[ $code -eq 0 ] && grep -q 'cut short, it is asked again' err && same killed whole; ok $? "the same command goes on, and ends the same"
cmp -s killed/2048/pred/niah_single_1.jsonl whole/2048/pred/niah_single_1.jsonl; ok $? "its predictions too"
python3 -c "import json; t = json.load(open('killed/result.json'))['time']; assert t['found'] == $before - 1 and t['answered'] == 25 - $before"
ok $? "nothing is asked twice"
try eval ruler --model model $three --seed 43 --out killed
says 2 "killed holds answers of other settings: seed is 42 there, 43 here"
python3 - <<'PY'
import json
rows = [json.loads(line) for line in open("whole/answers.jsonl")]
for r in rows: r["pred"] = " and ".join(x.lower() for x in r["outputs"])
open("perfect.jsonl", "w").write("".join(json.dumps(r) + "\n" for r in rows))
PY
mkdir perfect && cp whole/settings.json perfect && mv perfect.jsonl perfect/answers.jsonl
try eval ruler --model model $three --out perfect
[ $code -eq 0 ] && grep -q '^average  *100.00  *100.00$' out && grep -q '^Score,100.0,100.0,100.0$' perfect/2048/pred/summary.csv && grep -q 'effective.* 3072.00$' out
ok $? "right answers are worth 100"

# written, read
try eval ruler --write data $three --tokenizer bytes
[ $code -eq 0 ] && [ "$(wc -l <data/3072/data/vt/validation.jsonl)" -eq 4 ] && grep -q '^data/2048/data: 3 tasks, 4 samples each$' out; ok $? "samples alone"
try eval ruler --model model --data data --out read
[ $code -eq 0 ] && cmp -s read/3072/pred/vt.jsonl whole/3072/pred/vt.jsonl && grep -q 'left out' err; ok $? "are read, and give the same predictions"
try eval ruler --write other $three --tokenizer bytes --seed 7 --json
[ $code -eq 0 ] && python3 -c 'import json; assert json.load(open("out"))["seed"] == 7'; ok $? "another seed"
cmp -s data/2048/data/fwe/validation.jsonl other/2048/data/fwe/validation.jsonl; [ $? -eq 1 ]; ok $? "other samples"
python3 - <<'PY'
import json, os
for task in "vt", "fwe":  # as in 2024: the prefix is in the input, nothing else is there
    rows = [json.loads(line) for line in open(f"data/2048/data/{task}/validation.jsonl")]
    os.makedirs(f"old/{task}")
    with open(f"old/{task}/validation.jsonl", "w") as f:
        for r in rows: f.write(json.dumps({"index": 5, "input": r["input"] + r["answer_prefix"], "outputs": r["outputs"], "length": r["length"]}) + "\n")
PY
try eval ruler --model model --data old --lengths 2K --tasks vt,fwe --samples 3 --out old-out
[ $code -eq 0 ] && [ "$(wc -l <old-out/2048/pred/vt.jsonl)" -eq 3 ] && head -3 whole/2048/pred/vt.jsonl | cmp -s - old-out/2048/pred/vt.jsonl; ok $? "files of 2024"
seq 1 3 | sed 's/.*/The ship sailed on. Then she came home? Everybody laughed aloud!/' >essays.txt
try eval ruler --write essays --lengths 3K --tasks niah_single_2 --samples 1 --tokenizer bytes --essays essays.txt
[ $code -eq 0 ] && grep -q 'home? Everybody laughed' essays/3072/data/niah_single_2/validation.jsonl; ok $? "essays of one's own"
mkdir -p checkout/scripts/data/synthetic
python3 - <<'PY'
open("checkout/scripts/data/template.py", "w").write("Templates = {'base': '{task_template}', 'hello': 'Hello! {task_template} Bye.'}\n")
tasks = "niah variable_tracking common_words_extraction freq_words_extraction qa".split()
open("checkout/scripts/data/synthetic/constants.py", "w").write("TASKS = {" + "".join(f"{t!r}: {{'tokens_to_generate': 9, 'template': '{t}: {{context}}\\nQ?', 'answer_prefix': ' So:'}},\n" for t in tasks) + "}\n")
open("checkout/scripts/data/synthetic/niah.py", "w").write("needle = 'Now {type_needle_v} of {key}: {value}.'\nhaystack = 'Straw.'\n")
open("checkout/scripts/data/synthetic/variable_tracking.py", "w").write("haystack = 'Hay.'\n")
open("checkout/scripts/data/synthetic/qa.py", "w").write("DOCUMENT_PROMPT = '{i} {document}'\n")
PY
try eval ruler --write told --lengths 2K --tasks niah_single_1 --samples 1 --tokenizer bytes --templates checkout --chat hello
[ $code -eq 0 ] && grep -q '"input": "Hello! niah: Straw' told/2048/data/niah_single_1/validation.jsonl && grep -q '"answer_prefix": " So:"' told/2048/data/niah_single_1/validation.jsonl
ok $? "sentences of a checkout, in a wrapper"

# checkpoints
numbered 30 >train.jsonl
cat >run.yaml <<'YAML'
model: {init: {arch: llama, preset: tiny, seed: 3}}
tokenizer: bytes
data: {train: train.jsonl, valid: train.jsonl}
window: 256
batch: {windows: 2}
steps: 6
mask: anchor
eval: {every: 2, windows: 2}
export: {every: 1, last: 3}
output: run
YAML
"$kedge" train run.yaml >out 2>err; ok $? "a run with exports"
try eval ruler --checkpoints run --tasks niah_single_1,fwe --lengths 2K --samples 2 --out over
[ $code -eq 0 ] && [ "$(awk '$1 == "step" { on = 1; next } on && $1 ~ /^[0-9]/ { print $1 }' out | tr '\n' ' ')" = "4 5 6 " ]; ok $? "every export"
python3 - <<'PY'
import json
r = json.load(open("over/result.json"))
assert r["settings"]["run"] == "run" and "model" not in r["settings"]["subject"] and r["settings"]["subject"]["anchor"] is True
steps = r["tables"]["steps"]
assert [s["step"] for s in steps] == [4, 5, 6] and steps[0]["perplexity"] > 1 and steps[1]["perplexity"] is None
mean = sum(s["average"] for s in steps) / 3
assert abs(r["scores"]["average"] - mean) < 1e-9 and r["tables"]["ruler"][-1] == {"task": "average", "2048": r["scores"]["2048"]}
for s in 4, 5, 6: assert json.load(open(f"over/step-{s}/result.json"))["settings"]["subject"]["model"].endswith(f"step-{s}")
PY
ok $? "their mean, and each by itself"
[ -s over/chart.svg ] && [ -s over/chart-2.svg ] && grep -q 'Perplexity of validation' over/report.html; ok $? "RULER beside perplexity"
"$kedge" train run.yaml --resume --set steps=7 --set export.last=4 >out 2>err
try eval ruler --checkpoints run --tasks niah_single_1,fwe --lengths 2K --samples 2 --out over
[ $code -eq 0 ] && [ "$(awk '$1 == "step" { on = 1; next } on && $1 ~ /^[0-9]/ { print $1 }' out | tr '\n' ' ')" = "4 5 6 7 " ] &&
    python3 -c 'import json; assert json.load(open("over/step-4/result.json"))["time"]["answered"] == 0'
ok $? "a run that went on: what is new is asked"
try eval ruler --checkpoints run --tasks niah_single_1,fwe --lengths 2K --samples 2 --last 3 --out over
says 2 "over holds answers of other settings: last is 0 there, 3 here" 12
try eval ruler --checkpoints run --preset anchorattention --tasks fwe --lengths 4K --samples 1 --out paper
[ $code -eq 0 ] && grep -q '^task  *4000$' out && [ "$(ls -d paper/step-* | wc -l)" -le 5 ]; ok $? "the paper's setting: 4K is 4000"
try eval ruler --checkpoints run --last 1 --lengths 8K --samples 1 --out thirteen
[ $code -eq 0 ] && [ "$(grep -c '^\(niah_\|vt\|cwe\|fwe\|qa_\)' thirteen/result.csv)" -eq 13 ]; ok $? "all thirteen tasks"
try compare --layout table6 thirteen
[ $code -eq 0 ] && grep -q '^run  *anchor  *256  *1 ' out; ok $? "kedge compare takes the checkpoints below"

# refused
try eval ruler; says 2 "ruler: which model? --model DIR"
try eval ruler --model model --tasks vt,cve --lengths 2K; says 2 'unknown task "cve", did you mean cwe?'
try eval ruler --model model --tasks cwe --lengths 1K; says 2 "cwe at 1024 tokens: its shortest prompt has"
try eval ruler --model model --tasks fwe --lengths 200 --samples 1; says 2 "fwe at 200 tokens: at least 300 are needed for five code words"
try eval ruler --model model --tasks vt --lengths 2K,2K; says 2 "ruler: --lengths: 2048 stands twice"
try eval ruler --model model --tasks vt --lengths 0; says 2 "lengths are 1 or more"
try eval ruler --model model --tasks qa_1 --lengths 8K --samples 1000000; says 2 "qa_1: 1000000 samples are wanted, there are 33600 questions"
try eval ruler --model model --tasks vt --lengths 2K --length 1K --samples 1; says 2 "2048/vt/0: " 2
try eval ruler --model model --data data --seed 3 --essays essays.txt; says 2 "ruler: --essays is for samples that are made, --data has them"
try eval ruler --model model --data data --tasks cwe; says 2 "data has no samples of cwe at 2048 tokens"
try eval ruler --model model --data old; says 2 "old has no folders of lengths: of which one is it? --lengths 4K"
try eval ruler --model model --chat x --lengths 2K; says 2 "ruler: --chat x: out of which checkout? --templates DIR"
try eval ruler --write w --tokenizer bytes; says 2 "ruler: --write: of which lengths?"
try eval ruler --write w --lengths 2K; says 2 "ruler: --write: which tokenizer?"
try eval ruler --checkpoints data --lengths 2K; says 2 "ruler: --checkpoints data: neither exports nor checkpoints are there"
try eval ruler --model model --checkpoints run; says 2 "ruler: --model and --checkpoints: one of them"
try eval ruler --model model --last 2; says 2 "ruler: --last 2: of which run?"
try eval ruler --model model --preset paper; says 2 "ruler: --preset paper: there is anchorattention"
try eval ruler --write w --lengths 2K --tokenizer bytes --templates checkout --chat helo --tasks vt; says 2 'has no template "helo", did you mean hello?'
echo '{"data": 3}' >bad.json
try eval ruler --write w --lengths 8K --tokenizer bytes --tasks qa_1 --squad bad.json; says 1 'bad.json: no list "data"'
try eval ruler --write w --lengths 8K --tokenizer bytes --tasks qa_2 --hotpot bad.json; says 1 "bad.json: no list of questions"
try eval ruler --write w --lengths 3K --tokenizer bytes --tasks niah_single_2 --essays nothing.txt; says 1 "nothing.txt"
sed -i '2s/"input"/"inptu"/' data/2048/data/vt/validation.jsonl
try eval ruler --model model --data data --tasks vt; says 1 'data/2048/data/vt/validation.jsonl:2: "input" is missing'
[ ! -e w ]; ok $? "what is refused writes nothing"
if [ -e /dev/full ]; then
    "$kedge" eval ruler --model model --tasks vt --lengths 2K --samples 1 --json >/dev/full 2>err; code=$?
    says 1 "standard output could not be written" 3
fi
echo done
