#!/bin/bash
# kedge eval retention as a user meets it: a base and the exports of a run on the same items, killed and gone on with, thresholds for CI,
# the run's report, bad input. Usage: tests/cli_retention.sh build/gcc
. tests/command.sh

"$kedge" init model --preset tiny 2>err; ok $? "a model of bytes"
numbered 40 >a.jsonl
python3 - <<'PY'
import json, os, random
random.seed(1)
words = "the a boat sails on water with red blue green man woman runs jumps over under table and then he she slowly".split()
text = lambda n: " ".join(random.choice(words) for _ in range(n))
def lines(path, rows):
    with open(path, "w") as f:
        for row in rows: f.write(json.dumps(row) + "\n")
lines("b.jsonl", [{"text": text(80)} for _ in range(40)])
lines("val.jsonl", [{"activity_label": "Sailing", "ctx_a": text(9) + ".", "ctx_b": "he", "endings": [" " + text(4) + "." for _ in range(4)], "label": i % 4} for i in range(30)])
lines("mmlu.jsonl", [{"question": text(4), "subject": ["anatomy", "virology"][i // 8], "choices": [text(1) for _ in range(4)], "answer": i % 4} for i in range(16)])
PY
cat >run.yaml <<'YAML'
model: {path: model}
tokenizer: bytes
data: {train: a.jsonl, valid: a.jsonl}
window: 512
batch: {windows: 2}
optim: {lr: 1e-2}
steps: 6
mask: anchor
eval: {every: 6, windows: 2}
export: {every: 3, last: 2}
output: run
YAML
"$kedge" train run.yaml --quiet 2>err; ok $? "a run with two exports"

# same A B: the results of two folders, but for times
same() { python3 - "$1" "$2" <<'PY'
import json, sys
a, b = (json.load(open(x + "/result.json")) for x in sys.argv[1:3])
assert a.pop("time").keys() == b.pop("time").keys()
assert a == b, "different"
PY
}
asked="--checkpoints run --length 256 --hellaswag val.jsonl --mmlu mmlu.jsonl"

try eval retention $asked
[ $code -eq 0 ] && [ "$(grep -c '^base ' out)" -eq 3 ] && [ "$(grep -c '^step-[36] ' out)" -eq 6 ]; ok $? "the base and both exports, three measures"
for file in result.json result.csv hellaswag.csv mmlu.csv chart.svg chart-2.svg report.html base/answers.jsonl step-3/result.json step-6/result.json; do
    [ -s run/retention/$file ] || { ok 1 "$file is there"; break; }
done
[ "$(wc -l <run/retention/base/answers.jsonl)" -eq $((40 + 30 + 16)) ]; ok $? "a line an item"

# Scores and errors once more, from the answers.
python3 - <<'PY' 2>err
import json, math
items = [json.loads(x) for x in open("val.jsonl")]
questions = [json.loads(x) for x in open("mmlu.jsonl")]
sizes = [min(len(json.loads(x)["text"]), 255) - 1 for x in open("a.jsonl")]
def answers(name):
    rows = {r["key"]: r for r in map(json.loads, open(f"run/retention/{name}/answers.jsonl"))}
    loss = [sum(w[0] for w in rows[f"256/{i}"]["windows"]) for i in range(40)]
    assert [sum(w[1] for w in rows[f"256/{i}"]["windows"]) for i in range(40)] == sizes
    # choices stand behind contexts, so characters of the ending as it is cleaned: without its leading space
    best = lambda key, norm: max(range(4), key=lambda k: rows[key]["loglikelihood"][k] / norm[k])
    right = [100.0 * (best(f"hellaswag/{i}", [len(e.strip()) for e in x["endings"]]) == x["label"]) for i, x in enumerate(items)]
    said = [100.0 * (best(f"{q['subject']}/{i % 8}", [1] * 4) == q["answer"]) for i, q in enumerate(questions)]
    return loss, right, said
def by_size(x):
    mean = sum(x) / sum(sizes)
    return mean, math.sqrt(sum((a - mean * s) ** 2 for a, s in zip(x, sizes)) * 40 / 39) / sum(sizes)
def plain(x):
    mean = sum(x) / len(x)
    return mean, math.sqrt(sum((a - mean) ** 2 for a in x) / (len(x) - 1) / len(x))
def pooled(x):
    halves = x[:8], x[8:]
    return sum(x) / 16, math.sqrt(sum(sum((a - sum(h) / 8) ** 2 for a in h) for h in halves) / 14 / 16)
close = lambda a, b: abs(a - b) < 1e-9 * (1 + abs(b))
result = json.load(open("run/retention/result.json"))
base = answers("base")
for row, name in enumerate(["base", "step-3", "step-6"]):
    now = answers(name)
    for m, (table, score, mean) in enumerate([("loss", "loss", by_size), ("hellaswag", "acc_norm", plain), ("mmlu", "acc", pooled)]):
        r = result["tables"][table][row]
        assert r["model"] == name and close(r[score], mean(now[m])[0]) and close(r["stderr"], mean(now[m])[1]), (r, mean(now[m]))
        if name == "base":
            assert r["step"] is None and r["change"] is None
            continue
        change = mean([a - b for a, b in zip(now[m], base[m])])
        assert close(r["change"], change[0]) and close(r["change_stderr"], change[1]), (r, change)
scores = result["scores"]
assert scores["loss_change"] < -1 and close(scores["loss_base"] + scores["loss_change"], scores["loss"])
s = result["settings"]
assert s["run"] == "run" and s["base"]["model"] == "model" and s["base"]["anchor"] is False and s["subject"]["anchor"] is True and "model" not in s["subject"]
PY
ok $? "means, errors and paired errors are those of the answers"
try eval ppl --model model --text a.jsonl --truncate --length 255 --bos off --json
cp out ppl.json
try eval retention --checkpoints run --last 1 --length 256 --bos off --anchor off --text a.jsonl --out bare --json
[ $code -eq 0 ] && python3 -c 'import json
a, b = json.load(open("ppl.json"))["scores"], json.load(open("out"))["scores"]
assert abs(a["loss"] - b["loss_base"]) < 1e-12, (a, b)'; ok $? "the base's loss is that of kedge eval ppl"

# In the run's report.
alone() { grep -q '^</html>$' "$1" && ! grep -qiE '<script|https?:|src="[^d]|<link' "$1"; }
alone run/report.html && grep -q '<h2>Short-context retention</h2>' run/report.html && grep -q '<title>Short-context loss</title>' run/report.html &&
    grep -q 'href="./retention/report.html"' run/report.html; ok $? "the run's report shows it at once"
try report run -o elsewhere.html
[ $code -eq 0 ] && grep -q '<td>step-6</td>' elsewhere.html && ! grep -q 'href=' elsewhere.html; ok $? "a report that lies elsewhere has no links"

# Gone on with.
cp -r run/retention first
try eval retention $asked --json
[ $code -eq 0 ] && python3 -c 'import json
assert json.load(open("run/retention/step-6/result.json"))["time"]["answered"] == 0' && same run/retention first; ok $? "the same command asks nothing again"
"$kedge" eval retention $asked --out killed --batch 1 --threads 1 >out 2>err & pid=$!
for _ in $(seq 1000); do [ "$(cat killed/base/answers.jsonl 2>/dev/null | wc -l)" -ge 5 ] && break; sleep 0.01; done
kill -9 $pid; wait $pid 2>/dev/null
[ "$(wc -l <killed/base/answers.jsonl)" -ge 5 ] && [ ! -e killed/step-6/result.json ]; ok $? "killed on the way"
try eval retention $asked --out killed
[ $code -eq 0 ] && same run/retention killed && cmp -s run/retention/mmlu.csv killed/mmlu.csv; ok $? "it goes on, and ends as if it had not been"
try eval retention $asked --hellaswag-limit 7; says 2 "run/retention/base holds answers of other settings: hellaswag.limit is 0 there, 7 here" 2

# A run that goes on has one more.
"$kedge" train run.yaml --resume --quiet --set steps=7 --set export.last=1 2>err
try eval retention $asked
[ $code -eq 0 ] && [ "$(grep -c '^step-7 ' out)" -eq 3 ] && [ "$(wc -l <run/retention/result.csv)" -eq 5 ]; ok $? "an export that is new is asked alone"
try eval retention $asked --last 1 --out one; [ $code -eq 0 ] && [ ! -e one/step-6 ] && [ -e one/step-7/result.json ]; ok $? "--last"

# Thresholds: a run on other texts forgets these.
"$kedge" train run.yaml --quiet --set model.path=run/export/step-6 --set data.train=b.jsonl --set output=forgot --set optim.lr=3e-2 2>err
short="--checkpoints forgot --length 256 --hellaswag val.jsonl --hellaswag-limit 20"
try eval retention $short --most-loss 0.01
says 1 "step-6 lost more than it may: Short-context loss " 40
grep -qE 'loss [0-9.]+ \+- [0-9.]+ nats per token, --most-loss 0.01$' err && grep -q '^Short-context loss .* lost more$' out && [ -s forgot/retention/result.json ]; ok $? "exit 1, and the results are there"
grep -q '<td>lost more</td>' forgot/report.html; ok $? "the report says it too"
try eval retention $short --most-loss 100 --most-points 100
[ $code -eq 0 ] && [ "$(grep -c ' kept$' out)" -eq 2 ]; ok $? "within bounds: exit 0"
try eval retention --checkpoints run --length 256 --most-loss 0; [ $code -eq 2 ]; ok $? "other items want another folder"
try eval retention --checkpoints run --length 256 --most-loss 0 --out gained; ok $code "what is gained is not lost"

# Without a base; a pack.
sed 's/^model:.*/model: {init: {arch: llama, preset: tiny}}/' run.yaml >fresh.yaml
"$kedge" train fresh.yaml --quiet --set output=fresh --set steps=2 --set export.every=1 2>err
try eval retention --checkpoints fresh --length 256
[ $code -eq 0 ] && grep -q 'began from random weights: there is no base' err && ! grep -q change out && grep -q '^step-2 ' out; ok $? "a run from random weights: scores alone"
grep -q '<h2>Short-context retention</h2>' fresh/report.html; ok $? "its report too"
try eval retention --checkpoints fresh --length 256 --most-loss 1; says 2 "lost in comparison with which model? --base DIR"
try eval retention --checkpoints fresh --length 256 --base model --out based; [ $code -eq 0 ] && grep -q '^base ' out; ok $? "with a base that is named"
"$kedge" pack run.yaml --out pack >out 2>err
try eval retention --checkpoints run --last 1 --length 256 --pack pack --out packed --json
[ $code -eq 0 ] && python3 -c 'import json
assert json.load(open("out"))["scores"]["loss"] == json.load(open("run/retention/result.json"))["scores"]["loss"]'; ok $? "a pack has the documents that it was made of"
try eval retention --checkpoints run --last 1 --documents 5 --text b.jsonl --out few
[ $code -eq 0 ] && grep -q 'short context: 4096 tokens: model declares' err && grep -c '"4096/' few/base/answers.jsonl | grep -qx 5; ok $? "a length of its own, some documents"

# MMLU's folder
python3 - <<'PY'
import os, re
for split in "dev", "test":
    os.makedirs("mmlu/" + split)
names = "abstract_algebra anatomy astronomy business_ethics clinical_knowledge college_biology college_chemistry college_computer_science college_mathematics college_medicine college_physics computer_security conceptual_physics econometrics electrical_engineering elementary_mathematics formal_logic global_facts high_school_biology high_school_chemistry high_school_computer_science high_school_european_history high_school_geography high_school_government_and_politics high_school_macroeconomics high_school_mathematics high_school_microeconomics high_school_physics high_school_psychology high_school_statistics high_school_us_history high_school_world_history human_aging human_sexuality international_law jurisprudence logical_fallacies machine_learning management marketing medical_genetics miscellaneous moral_disputes moral_scenarios nutrition philosophy prehistory professional_accounting professional_law professional_medicine professional_psychology public_relations security_studies sociology us_foreign_policy virology world_religions".split()
for name in names:
    for split in "dev", "test":
        open(f"mmlu/{split}/{name}_{split}.csv", "w").write("Which?,a,b,c,d,A\nWhat?,a,b,c,d,C\n")
PY
try eval retention --checkpoints run --last 1 --length 64 --documents 2 --mmlu mmlu --mmlu-shots 1 --mmlu-limit 1 --out folder --json
[ $code -eq 0 ] && python3 -c 'import json
x = json.load(open("out"))
assert x["tables"]["mmlu"][1]["acc"] == x["scores"]["mmlu"]
assert x["scores"]["mmlu_stderr"] is None and x["settings"]["mmlu"]["shots"] == 1' && [ "$(grep -c 'loglikelihood' folder/base/answers.jsonl)" -eq 57 ]
ok $? "MMLU's folder, a question a subject: no error is made up"

# Refused
try eval retention; says 2 "retention: which run? --checkpoints RUN"
try eval retention --checkpoints nothing; says 2 "retention: --checkpoints nothing: no run.yaml in it"
mkdir empty; cp run/run.yaml empty
try eval retention --checkpoints empty; says 2 "--checkpoints empty: neither exports nor checkpoints are there"
try eval retention --checkpoints run --base gone; says 2 "--base gone: no such folder"
try eval retention --checkpoints run --most-loss some; says 2 "--most-loss some: a number, 0 or more"
try eval retention --checkpoints run --most-loss -1; says 2 "--most-loss -1: a number, 0 or more"
try eval retention --checkpoints run --most-points 1; says 2 "--most-points: of which questions?"
try eval retention --checkpoints run --text a.jsonl --pack pack; says 2 "--text or --pack, not both"
try eval retention --checkpoints run --length 2; says 2 "--length 2: 3 or more"
try eval retention --checkpoints run --mmlu-limit 3; says 2 "--mmlu-limit: of which questions? --mmlu DIR"
try eval retention --checkpoints run --mmlu mmlu.jsonl --mmlu-shots 3; says 2 "--mmlu-shots 3"
try eval retention --checkpoints run --model model; says 2 "unknown option --model"
try eval retention --checkpoints run --most-lost 3; says 2 "did you mean --most-loss?"
sed 's/^data:.*/data: {train: a.jsonl}/' run.yaml >none.yaml
"$kedge" train none.yaml --quiet --set output=none --set steps=1 --set export.every=1 2>err
try eval retention --checkpoints none; says 2 "the run has no data.valid: which texts? --text FILE or --pack DIR" 3
mv model moved
try eval retention --checkpoints run; says 2 "model.path model: no such folder: where is the model that the run began with? --base DIR"
mv moved model
printf '{"text": "a"}\n' >tiny.jsonl
try eval retention --checkpoints run --text tiny.jsonl --out tiny; says 2 "tiny.jsonl: no document of two tokens or more" 3
printf '{"text": 1}\n' >bad.jsonl
try eval retention --checkpoints run --text bad.jsonl --out bad; says 1 "bad.jsonl:1" 3
sed -i '7s/"label": [^}]*/"label": 9/' val.jsonl
try eval retention --checkpoints run --hellaswag val.jsonl --out bad; says 1 'val.jsonl:7: "label"' 3
[ ! -e bad ] && [ ! -e tiny ]; ok $? "what is refused leaves nothing"
mv a.jsonl gone.jsonl
try eval retention --checkpoints run --out moved-data; says 1 "data.valid: a.jsonl" 3
mv gone.jsonl a.jsonl
echo '{' >run/retention/result.json
try report run
[ $code -eq 0 ] && alone run/report.html && grep -q 'retention/result.json:' run/report.html; ok $? "a result that cannot be read is said in the report, and is no end of it"
echo '{"tables": {"loss": [3, {"model": 7, "step": "x"}], "mmlu": {}, "verdict": [[]]}, "scores": [], "settings": 1}' >run/retention/result.json
try report run
[ $code -eq 0 ] && alone run/report.html; ok $? "nor is one that is something else"
echo done
