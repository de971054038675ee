#!/bin/bash
# kedge plan as a user types it. Usage: tests/cli_plan.sh build/gcc
examples=$(realpath examples)
. tests/command.sh

try() { "$kedge" plan run.yaml "$@" >out 2>err; code=$?; }

for i in $(seq 1 60); do printf '{"text": "%s"}\n' "$(seq -s ' ' "$i" $((i * 5)))"; done >text.jsonl
cat >run.yaml <<'YAML'
model: {init: {arch: llama, preset: tiny}}
tokenizer: bytes
data: {train: [text.jsonl]}
window: 1K
batch: {windows: 2}
steps: 100
save: {every: 10, keep: 3}
output: runs/a
YAML

try
[ $code -eq 0 ] && grep -q '^memory .*GiB of' out && grep -q 'for a billion tokens' out && grep -q 'pairs a step' out
ok $? "memory, attention and time, for people"
try --json
[ $code -eq 0 ] && grep -q '"fits": true' out && grep -q '"tokens_per_step": 2048' out && grep -q '"seconds_per_step": [0-9]' out
ok $? "the same as JSON"
grep -q '"attention": {' out && grep -q '"parts": {' out; ok $? "with what the time is spent on, and the machine that was measured"
parameters=$(sed -n 's/.*"parameters": \([0-9]*\).*/\1/p' out)
weights=$(sed -n 's/.*"weights": \([0-9]*\).*/\1/p' out) disk=$(sed -n 's/.*"disk": \([0-9]*\).*/\1/p' out)
[ "$disk" -ge $((4 * 3 * weights * 9 / 10)) ] && [ "$disk" -le $((4 * 3 * weights * 12 / 10)) ]
ok $? "disk: three checkpoints are kept while a fourth is written, each three times the weights"
before=$disk
try --no-time --json --set 'export={every: 10, last: 5, dtype: bf16}'
disk=$(sed -n 's/.*"disk": \([0-9]*\).*/\1/p' out)
[ $code -eq 0 ] && [ $((disk - before)) -eq $((5 * 2 * parameters)) ]; ok $? "and five exports in bfloat16"
# number KEY: of the plan
number() { sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" out; }
try --no-time --json --set recompute=layer
moments=$(number moments) activations=$(number activations)
try --no-time --json --set recompute=layer --set offload.state=swap --set offload.activations=swap
[ $code -eq 0 ] && [ "$(number moments)" -eq 0 ] && [ $(($(number files) - moments)) -eq $((activations - $(number activations))) ] && [ ! -e swap ]
ok $? "what lies in files is not memory"
[ ! -e runs ]; ok $? "planning leaves nothing behind"
full=$("$kedge" plan run.yaml --no-time --json --set mask=full | sed -n 's/.*"pairs": \([0-9.]*\).*/\1/p')
[ "${full%.*}" = $((2 * 1024 * 1025 / 2)) ]; ok $? "full attention has every pair"
try --draw
[ $code -eq 0 ] && grep -q '1024 tokens' out && grep -q 'positions' out && ! grep -q 'memory' out; ok $? "a window is drawn in the terminal"
for mask in full document anchor; do for switch in interleave=true tag=true positions=reset; do
    try --draw --set mask=$mask --set $switch --svg $mask.svg
    [ $code -eq 0 ] && grep -q '</svg>' $mask.svg; ok $? "and as a picture: $mask, $switch"
done; done
try --draw --window -1;           [ $code -eq 2 ] && grep -q 'count from 0' err; ok $? "windows count from 0"
try --set window=1M;              [ $code -eq 2 ] && grep -q 'window' err; ok $? "documents that fill no window"
try --no-time --set batch.windows=16384 --set batch.micro=16384 --set recompute=none
[ $code -eq 1 ] && grep -q 'it will not fit' err && grep -q '^memory' out; ok $? "what will not fit is said, with the figures, exit 1"
cat >machine.yaml <<'YAML'
name: abacus
devices: 2
peak: 1000
products: 500
attention: {forward: {1K: 400}, backward: {1K: 200}}
numbers: 1e9
update: 1e9
link: 1e9
YAML
second=$("$kedge" plan run.yaml --json --machine machine.yaml | sed -n 's/.*"seconds_per_step": \([0-9]*\).*/\1/p')
sed 's/: 500/: 1000/; s/400/800/; s/200/400/' machine.yaml >faster.yaml
first=$("$kedge" plan run.yaml --json --machine faster.yaml | sed -n 's/.*"seconds_per_step": \([0-9]*\).*/\1/p')
[ $((second - 2 * first)) -ge -2 ] && [ $((second - 2 * first)) -le 2 ]; ok $? "a machine that is twice as fast takes half of the time"
try --machine machine.yaml;       [ $code -eq 0 ] && grep -q 'on abacus' out && grep -q 'years for a billion' out; ok $? "a machine of a file has its name"
sed /update/d machine.yaml >bad.yaml
try --machine bad.yaml;           [ $code -eq 2 ] && grep -q 'bad.yaml: update is missing' err; ok $? "a machine without a figure"
for file in "$examples"/machines/*.yaml; do
    try --machine "$file"; [ $code -eq 0 ]; ok $? "examples/machines/$(basename "$file")"
done
try --windows 256,1K --machine machine.yaml --svg time.svg
[ $code -eq 0 ] && grep -q '^ *1K  .*%$' out && grep -q '</svg>' time.svg; ok $? "windows side by side, full and anchor, and as a picture"
try --windows 256,1K --machine machine.yaml --json
[ $code -eq 0 ] && [ "$(grep -c '"mask": "anchor"' out)" -eq 2 ] && [ "$(grep -c '"mask": "full"' out)" -eq 2 ]; ok $? "the same as JSON"
try --windows 256,512
[ $code -eq 0 ] && grep -q 'on this machine' out; ok $? "and on this machine"
try --windows 1K,256;             [ $code -eq 2 ] && grep -q 'ascend' err; ok $? "windows ascend"
try --windows 256 --no-time;      [ $code -eq 2 ] && grep -q 'about time' err; ok $? "windows are about time"
several="--set parallel.sequence=2 --set parallel.data=2 --set batch.windows=8"
try $several
[ $code -eq 0 ] && grep -q '^memory of a rank ' out && grep -q '^ranks  *4: 2 share a window (ulysses), 2 such groups; zero 1; 4 on a host' out &&
    grep -q '^  attention  *[0-9.]*[KMG]  *0$' out && grep -q 'alone .* 4 ranks are .* times as fast' out
ok $? "several ranks: what one of them holds and sends, beside one alone"
try $several --json --machine "$examples"/machines/h100-cluster.yaml
[ $code -eq 0 ] && grep -q '"alone": {' out && grep -q '"sent": [0-9]' out; ok $? "the same as JSON, on devices of a file"
try --set batch.windows=3 --set parallel.data=2
[ $code -eq 2 ] && grep -q 'parallel: 3 windows a step are not shared by 2' err; ok $? "ranks that do not share the windows"

cluster() { "$kedge" plan run.yaml --cluster cluster.yaml "$@" >out 2>err; code=$?; }
{ sed '/link/d; s/^name.*/name: abaci/' machine.yaml; printf 'hosts: 4\nmemory: 1e9\ninside: 4e9\nbetween: 1e9\nlatency: 1e-6\n'; } >cluster.yaml
cluster --set batch.windows=8 --set recompute=none
[ $code -eq 0 ] && grep -q '^8 ranks on abaci, hosts of 2: 4; llama' out && [ "$(grep -c '^\*  *[1248]  *[1248]  *[123] ' out)" -eq 1 ] &&
    grep -q '^  kedge train run.yaml --set parallel.sequence=' out
ok $? "layouts of a cluster, the best marked, and how to use it"
grep -q '^  *8  *1  *[123]  *none  *allgather ' out && grep -q '^  *4  *2  *[123]  *none  *ulysses ' out; ok $? "more ranks than heads gather keys and values"
awk '$1 ~ /^[*1-8]/ && / (ulysses|allgather) / && $0 !~ /train/ {sub(/\*/, ""); print $1 * $2}' out | sort -u >ranks; [ "$(cat ranks)" = 8 ]; ok $? "each on all ranks"
cluster --set batch.windows=8 --hosts 2 --json
[ $code -eq 0 ] && grep -q '"ranks": 4' out && [ "$(grep -c '"sequence": ' out)" -eq $((3 * 3 * 2)) ] && grep -q '"set": \[' out
ok $? "as JSON, on some of the hosts: every layout"
first=$(sed -n '/"layouts"/,$s/.*"\(sequence\|data\|zero\)": \([0-9]*\).*/\2/p' out | head -3 | tr '\n' ' ')
last=$(sed -n '/"set"/,$s/.*parallel.\(sequence\|data\|zero\)=\([0-9]*\).*/\2/p' out | tr '\n' ' ')
[ -n "$first" ] && [ "$first" = "$last" ]; ok $? "the first is what is to be set"
# what rank 0 sends of gradients where two share a window, zero 1
gradients() { awk '/"sequence": 2,/ {s = 1} /"zero": 1,/ && s {z = 1} /"zero": [23],/ {s = 0} z && /"gradients": \{/ {g = 1}
    g && /inside|between/ {n += $2} g && /between/ {print n; exit}' out; }
cluster --set batch.windows=8 --hosts 2 --json; listed=$(gradients)
try $several --json --no-time
[ -n "$listed" ] && [ "$listed" = "$(gradients)" ]; ok $? "they send what the run file's own ranks send"
cluster --set batch.windows=2
[ $code -eq 0 ] && grep -q 'Do not fit:' out && grep -q '^  *2  *4  *2 windows a step are not shared by 4' out; ok $? "what does not fit is told why"
sed -i 's/memory: 1e9/memory: 1e6/' cluster.yaml; cluster --set batch.windows=8
[ $code -eq 1 ] && grep -q 'no layout fits 8 ranks' err && grep -q 'GiB of memory, a device has 0.0' out; ok $? "no layout fits: exit 1"
sed -i '/memory/d' cluster.yaml; cluster
[ $code -eq 2 ] && grep -q 'cluster.yaml: memory, the bytes of a device, is missing' err; ok $? "a cluster without memory"
sed -i 's/between.*/memory: 1e9/' cluster.yaml; cluster
[ $code -eq 2 ] && grep -q 'between, the bytes a second' err; ok $? "hosts without links between them"
try --hosts 2;                    [ $code -eq 2 ] && grep -q 'goes with --cluster' err; ok $? "hosts are a cluster's"
# docs/scale.md, its first row
(cd "$examples"/.. && "$kedge" plan examples/scale/scale.yaml --cluster examples/machines/h100-cluster.yaml --hosts 1) >out 2>err
grep -q '^\*  *4  *2  *3  *layer  *ulysses .* 12.0 minutes .* 48.[0-9]%$' out; ok $? "Llama-3-8B's shape on eight H100, windows of 128K"
mkdir runs
"$kedge" train run.yaml --quiet --set steps=1 --set output=runs/b 2>err
[ $? -eq 0 ] && ! grep -q 'free' err; ok $? "a run that fits is not warned about"
case $(basename "$1") in
    *-address*|*-thread*) echo "skipped: a run without enough address space: a sanitizer needs terabytes" ;;
    *)
        (ulimit -v 180000; "$kedge" train run.yaml --set model.init.preset=10m --set output=runs/c >out 2>err)
        [ $? -eq 1 ] && grep -q 'warning: this run needs .* kedge plan says' err && grep -q 'out of memory' err && [ ! -e runs/c ]
        ok $? "a run that does not fit is warned about, and fails in one line"
        ;;
esac
echo done
