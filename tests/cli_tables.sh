#!/bin/bash
# kedge compare --layout: results of evaluations as tables of the paper. Usage: tests/cli_tables.sh build/gcc
. tests/command.sh

python3 - <<'PY'
import json, os
tasks = "niah_single_1 niah_single_2 niah_single_3 niah_multikey_1 niah_multikey_2 niah_multikey_3 niah_multivalue niah_multiquery vt cwe fwe qa_1 qa_2".split()
llama2 = dict(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32, intermediate_size=11008, vocab_size=32000)
def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w").write(text if isinstance(text, str) else json.dumps(text))
def result(folder, task, model, scores, settings={}, tables={}):
    write(folder + "/result.json", {"kedge": "0.1.0", "task": task, "settings": {"task": task, "subject": {"model": model}, **settings}, "scores": scores, "tables": tables, "time": {}})
def run(name, mask, window, **more):
    write(f"runs/{name}/run.yaml", "mask: %s\nwindow: %s\npositions: running\ninterleave: false\ntag: false\n" % (mask, window))
    for step in 1990, 2000: write(f"runs/{name}/export/step-{step}/config.json", {**llama2, **more})
def ruler(folder, model, base, lengths=(65536, 4000)):
    rows = [{"task": t, **{str(l): base - l / 65536 - 13 * (t in ("cwe", "niah_multikey_3")) for l in lengths}} for t in tasks]
    result(folder, "ruler", model, {}, {"lengths": list(lengths), "samples": 5}, {"ruler": rows + [{"task": "average", **{str(l): 0 for l in lengths}}]})
run("full", "full", "64K")
run("anchor", "anchor", "64K")
run("small", "anchor", "64K", hidden_size=64)
for name, base in ("full", 80), ("anchor", 90), ("small", 50):
    for step in 1990, 2000:
        model = f"runs/{name}/export/step-{step}"
        ruler(f"results/{name}-ruler-{step}", model, base + (step == 2000))
        result(f"results/{name}-hella-{step}", "hellaswag", model, {"acc": 0.5, "acc_norm": 0.7 + (step == 2000) / 100}, {"shots": 0})
        result(f"results/{name}-mmlu-{step}", "mmlu", model, {"acc": 0.25})
        result(f"results/{name}-lb-{step}", "longbench", model, {"few_shot": 60, "code": 50, "multi_doc_qa": 20, "single_doc_qa": None, "average": None})
# as kedge eval ruler --checkpoints leaves it: a mean without a model, and the checkpoints beside it
ruler("mean/step-2000", "runs/anchor/export/step-2000", 80)
rows = [{"task": t, "65536": 70, "4000": 90} for t in tasks]
result("mean", "ruler", None, {}, {"run": "anchor", "last": 5, "lengths": [65536, 4000], "samples": 5}, {"ruler": rows, "steps": [{"step": s} for s in range(5)]})
write("models/llama/config.json", llama2)
result("results/llama-mmlu", "mmlu", "models/llama", {"acc": 0.46})
result("results/llama-hella", "hellaswag", "models/llama", {"acc": 0.5, "acc_norm": 0.71}, {"shots": 0})
PY

try compare --layout table5 results
[ $code -eq 0 ] && grep -qE '^full +full attention +64K +2 +– +79.50 +– +– +– +80.44$' out && grep -qE '^anchor +anchor +64K +2 +– +89.50 ' out; ok $? "table 5: means over checkpoints, over 11 tasks"
grep -q '^RULER: mean of 11 tasks, without niah_multikey_3 and cwe' out; ok $? "what is averaged is said"
[ "$(awk '/^full|^anchor/ { print $1 }' out | paste -sd' ')" = "full anchor" ]; ok $? "in the paper's order"
try compare --layout table5 results --tasks 13
grep -qE '^full +full attention +64K +2 +– +77.50 ' out; ok $? "over 13 tasks"
try compare --layout table5 results --paper slimpajama-64k
[ $code -eq 0 ] && grep -A1 '^full ' out | grep -qE 'the paper +full attention +64K +– +– +66.40 +71.78 +77.63 +83.86 +89.84$' && [ "$(grep -c 'the paper  ' out)" -eq 2 ]
ok $? "the paper's figures beside runs of its model"
grep -q '^no figures of the paper beside small: its model is another$' out; ok $? "and not beside others"
try compare --layout table5 results --paper slimpajama-128k
[ "$(grep -c 'its window is another' out)" -eq 2 ]; ok $? "nor beside other windows"
try compare --layout table5 mean/result.json
[ $code -eq 0 ] && grep -qE '^anchor +anchor +64K +5 +– +70.00 +– +– +– +90.00$' out; ok $? "a mean over checkpoints is a row of its run"
try compare --layout table5 mean
[ $code -eq 0 ] && grep -qE '^anchor +anchor +64K +1 +– +79.00 ' out; ok $? "of its folder the checkpoints are taken"
try compare --layout table7 results --paper slimpajama-64k --markdown
[ $code -eq 0 ] && grep -qxF '| full | full attention | 64K | 2 | 60.00 | 70.50 | 25.00 |' out && grep -qF '| untrained | – | – | 6.22 | 71.39 | 46.66 |' out && grep -qF '| llama | untrained | – | 1 | – | 71.00 | 46.00 |' out
ok $? "table 7, as Markdown"
try compare --layout table12 results --csv
[ $code -eq 0 ] && grep -qx 'anchor,anchor,64K,2,60.*,50.*,20.*,,,,' out; ok $? "table 12, as CSV"
try compare --layout table6 results/full-ruler-1990 results/full-ruler-2000/result.json --json
[ $code -eq 0 ] && python3 -c 'import json; x = json.load(open("out")); assert x["layout"] == "table6" and len(x["rows"]) == 1 and x["rows"][0]["checkpoints"] == 2 and abs(x["rows"][0]["64K"] - 77.5) < 1e-9'
ok $? "table 6, as JSON: some results alone"
cp -r results/full-hella-1990 again
sed -i 's/"shots": 0/"shots": 10/; s/step-1990/step-1980/' again/result.json
try compare --layout table7 results/full-hella-2000 again
grep -q '^again: another shots than the first result of this task' out; ok $? "evaluations that differ are named"
try compare --layout table5 results/full-ruler-1990 results/full-ruler-1990; says 2 "a second result of ruler for runs/full/export/step-1990"
try compare --layout table5 results/full-mmlu-1990; says 2 "none of these results is of what table5 shows"
try compare --layout table5 runs/full/export; says 1 "no result.json in it, nor one level below"
try compare --layout table4 results; says 2 "did you mean table"
try compare --layout table6 results --paper slimpajama-64k; says 2 "of table6 there is llama-3-8b, mistral-7b-v0.3, qwen1.5-1.8b"
try compare --layout table5 results --csv --json; says 2 "one of --json, --csv and --markdown"
try compare --csv runs/full; says 2 "go with --layout"
sed -i 's/"scores"/"scored"/' again/result.json
try compare --layout table7 again; says 1 "again/result.json: no results of an evaluation"
echo done
