#!/bin/bash
# kedge eval as a user meets it: each benchmark on files of its form, answers that are gone on with, bad input by file and line.
# Usage: tests/cli_eval.sh build/gcc; KEDGE_FAULTS=all takes every call that can fail instead of a sample, KEDGE_SEED=N repeats one
shim=$(realpath "$1/tests/fault_shim.so" 2>/dev/null)
. tests/command.sh
case "$kedge" in *-address*/kedge | *-thread*/kedge) plain=0 ;; *) plain=1 ;; esac

"$kedge" init model --preset tiny 2>err; ok $? "a model of bytes"
python3 - <<'PY'
import json, os, random
random.seed(1)
words = "the a boat sails on water with red blue green man woman runs jumps over under table and then he she slowly".split()
text = lambda n: " ".join(random.choice(words) for _ in range(n))
def lines(path, rows):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as f:
        for row in rows: f.write(json.dumps(row) + "\n")
def item(i): return {"ind": i, "activity_label": "Sailing", "ctx_a": text(9) + ".", "ctx_b": ["he", ""][i % 2], "endings": [" " + text(4) + "." for _ in range(4)], "label": [i % 4, str(i % 4)][i % 2]}
lines("val.jsonl", map(item, range(60)))
lines("train.jsonl", map(item, range(40)))
for split, count in ("dev", 5), ("test", 6):
    os.makedirs("mmlu/" + split, exist_ok=True)
    for subject in "anatomy", "virology", "sociology":
        with open(f"mmlu/{split}/{subject}_{split}.csv", "w") as f:
            for i in range(count): f.write('"What, ""%s""?",%s,%s,"a, b",none,%s\n' % (text(5), text(1), text(2), "ABCD"[i % 4]))
lines("mmlu.jsonl", [{"question": text(4), "subject": "anatomy", "choices": [text(1) for _ in range(4)], "answer": i % 4} for i in range(4)])
english = "narrativeqa qasper multifieldqa_en hotpotqa 2wikimqa musique gov_report qmsum multi_news trec triviaqa samsum passage_count passage_retrieval_en lcc repobench-p"
for name in english.split():
    rows = [{"input": text(4), "context": text(120), "answers": ["Paragraph 3"] if "retrieval" in name else [text(2), "red"], "length": 3000 * i + 100, "dataset": name,
             "language": "en", "all_classes": ["red", "Date"] if name == "trec" else None, "_id": str(i)} for i in range(3)]
    lines(f"longbench/data/{name}.jsonl", rows)
    if name in ("qasper", "lcc"): lines(f"longbench/data/{name}_e.jsonl", rows)
os.makedirs("longbench/config", exist_ok=True)
json.dump({name: "{context}\n{input}\n" for name in english.split()}, open("longbench/config/dataset2prompt.json", "w"))
json.dump({name: 8 for name in english.split()}, open("longbench/config/dataset2maxlen.json", "w"))
PY
numbered 40 >texts.jsonl

# same A B: the results of two folders, but for times
same() { python3 - "$1" "$2" <<'PY'
import json, sys
a, b = (json.load(open(x + "/result.json")) for x in sys.argv[1:3])
assert a.pop("time").keys() == b.pop("time").keys()
assert a == b, "different"
PY
}

# HellaSwag
try eval hellaswag --model model --data val.jsonl --out hella
[ $code -eq 0 ] && grep -q '^acc_norm  *0\.[0-9]*  *0\.[0-9]*  *60$' out; ok $? "hellaswag"
for file in settings.json answers.jsonl result.json result.csv report.html; do [ -s hella/$file ] || { ok 1 "$file is there"; break; }; done
[ "$(wc -l <hella/answers.jsonl)" -eq 60 ]; ok $? "a line an item"
grep -q '<script' hella/report.html; [ $? -eq 1 ]; ok $? "the page runs nothing"
try eval hellaswag --model model --data val.jsonl --out hella --json
[ $code -eq 0 ] && python3 -c 'import json; x = json.load(open("out")); assert x["time"]["found"] == 60 and x["time"]["answered"] == 0 and x["settings"]["subject"]["anchor"] is False'
ok $? "the same command asks nothing again"
try eval hellaswag --model model --data val.jsonl --out hella1 --batch 1 --threads 1
[ $code -eq 0 ] && same hella hella1 && cmp -s <(sort hella/answers.jsonl) <(sort hella1/answers.jsonl); ok $? "one at a time: the same to the bit"
try eval hellaswag --model model --data val.jsonl --out hella --anchor on
says 2 "hella holds answers of other settings: subject.anchor is false there, true here; name another folder" 2
try eval hellaswag --model model --data val.jsonl --out hella --limit 7
says 2 "limit is 0 there, 7 here" 2
cp val.jsonl val1.jsonl; sed -i '60s/Sailing/Rowing/' val.jsonl
try eval hellaswag --model model --data val.jsonl --out hella
says 2 "data_hash is" 2
mv val1.jsonl val.jsonl
try eval hellaswag --model model --data val.jsonl --shots 5 --train train.jsonl --anchor on --limit 10 --json
[ $code -eq 0 ] && python3 -c 'import json; x = json.load(open("out"))["settings"]; assert x["shots"] == 5 and x["subject"]["anchor"] and x["subject"]["lead"] == [256]'
ok $? "five shots behind an anchor, nowhere kept"
try eval hellaswag --model model --data val.jsonl --shots 5 --train train.jsonl --length 300 --limit 10
[ $code -eq 0 ] && grep -q '10 of 10 contexts were longer than --length' err; ok $? "contexts that are too long lose their beginning"

# A kill: what is answered stays, and the end is the same.
shots="--shots 12 --train train.jsonl --batch 1 --threads 1"
try eval hellaswag --model model --data val.jsonl $shots --out whole
"$kedge" eval hellaswag --model model --data val.jsonl $shots --out killed >out 2>err & pid=$!
for _ in $(seq 1000); do [ "$(cat killed/answers.jsonl 2>/dev/null | wc -l)" -ge 5 ] && break; sleep 0.01; done
kill -9 $pid; wait $pid 2>/dev/null
kept=$(wc -l <killed/answers.jsonl)
[ "$kept" -ge 5 ] && [ "$kept" -lt 60 ] && [ ! -e killed/result.json ]; ok $? "killed on the way"
printf '{"key":"hellaswag/59","logl' >>killed/answers.jsonl
try eval hellaswag --model model --data val.jsonl $shots --out killed
[ $code -eq 0 ] && grep -q "answers.jsonl:$((kept + 1)): the line is cut short" err && same whole killed; ok $? "it goes on, and ends as if it had not been"
python3 -c "import json; x = json.load(open('killed/result.json'))['time']; assert x['found'] == $kept and x['answered'] == 60 - $kept"
ok $? "the rest alone was asked"
exec 9>>killed/.lock; flock 9
try eval hellaswag --model model --data val.jsonl $shots --out killed; says 1 "killed is being written" 2
exec 9>&-
sed -i '3s/^{/{{/' killed/answers.jsonl
try eval hellaswag --model model --data val.jsonl $shots --out killed
says 1 "killed/answers.jsonl:3:2: a key expected" 2

# Every call of the folder's files fails, in every way: what was answered is gone on with.
few() { try eval hellaswag --model model --data val.jsonl --limit 3 --threads 1 --out "$1"; }
if [ $plain -eq 1 ] && [ -e "$shim" ]; then
    few calls; rm -rf called
    FAULT_LOG=$home/log LD_PRELOAD=$shim few called
    bad=0 count=0
    cases=$(for way in before torn after nospace io interrupted short; do sed -n "s|^\([0-9]*\) .*called.*|\1/$way|p" log; done |
        if [ "${KEDGE_FAULTS:-}" = all ]; then cat; else shuf -n 28 --random-source=<(yes "${KEDGE_SEED:-$RANDOM}"); fi)
    for c in $cases; do
        count=$((count + 1))
        rm -rf called
        FAULT_CALL=${c%/*} FAULT_WAY=${c#*/} LD_PRELOAD=$shim few called
        case $c in
            */before | */torn | */after) [ $code -eq 0 ] || [ $code -eq 137 ] ;;
            *) [ $code -eq 0 ] || { [ $code -eq 1 ] && grep -q '^kedge: .*called' err; } ;;
        esac && few called && [ $code -eq 0 ] && same calls called && cmp -s <(sort calls/answers.jsonl) <(sort called/answers.jsonl) &&
            ! find called -name '*.tmp' | grep -q . || { bad=$((bad + 1)); echo "call $c: exit $code"; cat err; }
    done
    ok $bad "every call of the folder fails ($count cases): the next time it ends as if it had not"
else
    echo "skipped: calls that fail: a sanitizer is in the shim's place, or it was not built"
fi

# MMLU
try eval mmlu --model model --data mmlu --subject anatomy --subject virology --subject sociology --out mmlu-out
[ $code -eq 0 ] && grep -q '^all  *0\.[0-9]*  *0\.[0-9]*  *18$' out && grep -q '^social_sciences ' out && grep -q '3 of 57 subjects' err; ok $? "mmlu from a folder"
try eval mmlu --model model --data mmlu.jsonl --shots 0 --json
[ $code -eq 0 ] && python3 -c 'import json; x = json.load(open("out")); assert x["scores"]["questions"] == 4 and x["settings"]["descriptions"] == "own wording"'
ok $? "mmlu from lines"
try eval mmlu --model model --data mmlu; says 1 "mmlu/test/abstract_algebra_test.csv: no such file"
try eval mmlu --model model --data mmlu --subject anatomi; says 2 "did you mean anatomy?"
try eval mmlu --model model --data mmlu.jsonl; says 2 "--dev FILE"
sed -i '3s/,none,/,none/' mmlu/test/anatomy_test.csv
try eval mmlu --model model --data mmlu --subject anatomy; says 1 "mmlu/test/anatomy_test.csv:3: 5 fields"

# LongBench
try eval longbench --model model --data longbench --config longbench --length 700 --out lb
[ $code -eq 0 ] && grep -q '^average of the six  *[0-9]' out && [ "$(grep -c . lb/answers.jsonl)" -eq 48 ]; ok $? "longbench, all of it"
[ "$(ls lb/pred/model/*.jsonl | wc -l)" -eq 16 ] && python3 -c 'import json
rows = [json.loads(x) for x in open("lb/pred/model/trec.jsonl")]
assert list(rows[0]) == ["pred", "answers", "all_classes", "length"] and len(rows) == 3
assert len(json.load(open("lb/pred/model/result.json"))) == 16'; ok $? "predictions as its programs write them"
cp out asked
try eval longbench --score lb/pred/model
[ $code -eq 0 ] && cmp -s out <(grep -vx 'lb' asked | sed '$d'); ok $? "and scored from there: the same"
try eval longbench --model model --data longbench --e --length 700 --limit 2 --json
[ $code -eq 0 ] && python3 -c 'import json; x = json.load(open("out")); assert len(x["tables"]["datasets"]) == 2 and "0-4k" in x["tables"]["datasets"][0] and x["scores"]["average"] is None'
ok $? "LongBench-E: scores by length; no average of some"
mkdir pred; printf '{"pred": "red", "answers": ["red"], "all_classes": null, "length": 5}\n' >pred/hotpotqa.jsonl; echo '{"pred": 1}' >pred/vcsum.jsonl
try eval longbench --score pred
[ $code -eq 0 ] && grep -q '^hotpotqa .* 100.00 ' out && grep -q 'vcsum: .*not scored' err; ok $? "what needs Chinese words is left out by name"
echo '{"pred": "red"}' >>pred/hotpotqa.jsonl
try eval longbench --score pred; says 1 'pred/hotpotqa.jsonl:2: "answers" is missing'
try eval longbench --model model --data longbench --dataset dureader; says 1 "dureader: its scores need Chinese words"
try eval longbench --model model --data longbench --dataset qaspr; says 2 "did you mean qasper"
try eval longbench --model model --data model; says 1 "model: no data set of LongBench in it"
echo '{"input": "x"}' >longbench/data/lcc.jsonl
try eval longbench --model model --data longbench --dataset lcc --length 700; says 1 'lcc.jsonl:1: "context" is missing' 3

# Perplexity
try eval ppl --model model --text texts.jsonl --length 128 --stride 64 --out ppl
[ $code -eq 0 ] && [ -s ppl/chart.svg ] && [ -s ppl/positions.csv ] && [ "$(wc -l <ppl/answers.jsonl)" -eq 40 ]; ok $? "sliding windows"
try eval ppl --model model --text texts.jsonl --truncate --lengths 256,64,128 --min-tokens 256 --out lengths
[ $code -eq 0 ] && head -n 1 lengths/lengths.csv | grep -qx ',64,128,256' && grep -q '^model,[0-9.]*,[0-9.]*,[0-9.]*$' lengths/lengths.csv && [ -s lengths/chart-2.svg ]
ok $? "several lengths in a row"
try eval ppl --model model --text texts.jsonl --truncate --length 128 --min-tokens 256 --json
[ $code -eq 0 ] && python3 -c 'import json
one, all = json.load(open("out"))["scores"], json.load(open("lengths/result.json"))["scores"]
assert one["perplexity"] == all["perplexity_128"]'; ok $? "each as it is alone"
try eval ppl --model model --text texts.jsonl --length 128 --rolling --json
[ $code -eq 0 ] && python3 -c 'import json, math
x = json.load(open("out"))["scores"]
size = sum(len(json.loads(l)["text"]) for l in open("texts.jsonl"))
assert x["tokens"] == size and abs(x["bits_per_byte"] - x["loss"] / math.log(2)) < 1e-12 and abs(x["byte_perplexity"] - x["perplexity"]) < 1e-9'
ok $? "rolling windows: every byte once"
cat >run.yaml <<'YAML'
tokenizer: bytes
data: {train: texts.jsonl, valid: texts.jsonl}
window: 256
steps: 2
optim: {lr: 1e-2}
mask: document
output: run
eval: {every: 1, windows: 100}
model: {path: model}
YAML
for mask in document anchor; do
    set="--set mask=$mask --set output=$mask --set positions=reset"
    "$kedge" train run.yaml $set --quiet >out 2>err && "$kedge" pack run.yaml $set --out $mask-pack >out 2>err
    try eval ppl --model $mask/step-2 --pack $mask-pack --length 256 --json
    [ $code -eq 0 ] && python3 - $mask <<'PY'
import json, sys
valid = [json.loads(x) for x in open(sys.argv[1] + "/metrics.jsonl")]
valid = [x for x in valid if x.get("event") == "valid"][-1]
x = json.load(open("out"))
assert x["settings"]["subject"]["anchor"] == (sys.argv[1] == "anchor")
assert x["scores"]["tokens"] == valid["targets"] and abs(x["scores"]["loss"] - valid["loss"]) < 1e-5, (x["scores"], valid)
PY
    ok $? "documents of a pack, mask $mask: the loss of kedge train"
done
try eval ppl --model model --text texts.jsonl --min-tokens 100K; says 2 "no text of 102400 tokens or more: the longest of 40"
try eval ppl --model model --text texts.jsonl --length 128 --stride 128; says 2 "--stride 128: a window has 127 tokens"
try eval ppl --model model; says 2 "which texts?"
try eval ppl --model model --text texts.jsonl --length 128 --lengths 64; says 2 "--length or --lengths, not both"
printf '{"text": 1}\n' >bad.jsonl
try eval ppl --model model --text bad.jsonl; says 1 "bad.jsonl:1"
printf '{"input_ids": [256, 1, 2, 3, 4]}\n' >ids.jsonl
try eval ppl --model model --text ids.jsonl --length 64 --json
[ $code -eq 0 ] && grep -q '"tokens": 4' out; ok $? "a text that is tokens, its BOS counted once"

# Refused
try eval; [ $code -eq 2 ] && grep -q '^  hellaswag  ' err; ok $? "kedge eval alone lists what there is"
try eval hellswag; says 2 "did you mean hellaswag?"
try eval hellaswag --data val.jsonl; says 2 "which model? --model DIR"
try eval hellaswag --model model; says 2 "--data hellaswag_val.jsonl"
try eval hellaswag --model model --data val.jsonl --shot 3; says 2 "did you mean --shots?"
try eval hellaswag --model model --data val.jsonl --shots 3; says 2 "--train hellaswag_train.jsonl"
try eval hellaswag --model model --data val.jsonl --bos maybe; says 2 "it is auto, on or off"
sed -i '7s/"label": [^}]*/"label": 9/' val.jsonl
try eval hellaswag --model model --data val.jsonl --out refused; says 1 'val.jsonl:7: "label"'
[ ! -e refused ]; ok $? "what is refused leaves nothing"
echo done
