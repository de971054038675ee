#!/bin/bash
# Training on a GPU, or on the one that the host plays; without either what the command says. Usage: tests/cli_cuda.sh build/gcc-cuda
. tests/command.sh

mkdir data
for i in $(seq 1 12); do printf '{"text": "document %d: %s"}\n' "$i" "$(seq -s ' ' "$i" $((i * 5)))"; done >data/a.jsonl
cat >run.yaml <<'YAML'
model:
  init: {arch: qwen2, preset: tiny, seed: 3}
tokenizer: bytes
data: {train: [data/a.jsonl], valid: [data/a.jsonl]}
window: 96
batch: {windows: 2, micro: 2}
leaves: 2
optim: {lr: 3e-3}
steps: 4
save: {every: 2}
eval: {every: 4, windows: 1}
device: cuda
output: runs/f32
YAML

try train run.yaml --set output=runs/no --set device=cuda:999
[ $code -eq 1 ] && grep -q 'device cuda' err; ok $? "a GPU that is not there is refused"
[ ! -e runs/no ]; ok $? "and nothing is written"
try train run.yaml
if [ $code -eq 1 ] && grep -q 'device cuda' err; then
    echo "skipped: training on a GPU: $(head -c 200 err)"
    echo done
    exit
fi
ok $code "a run in float32"
half="--set dtype.weights=bf16 --set dtype.activations=bf16"
try train run.yaml --set device=host --set output=runs/host; ok $code "the same on the host"
try train run.yaml $half --set output=runs/bf16; ok $code "the same in bf16"
try train run.yaml $half --set output=runs/again; ok $code "and again"
[ "$(sum runs/bf16/step-4)" = "$(sum runs/again/step-4)" ]; ok $? "the same bits from run to run"
try train run.yaml $half --set output=runs/half --set steps=2
try train run.yaml $half --set output=runs/half --resume; ok $code "a resumed run"
[ "$(sum runs/half/step-4)" = "$(sum runs/bf16/step-4)" ]; ok $? "goes on bit for bit"

cat >near.py <<'PYTHON'
import json, sys
def losses(run): return [x["loss"] for x in map(json.loads, open(f"runs/{run}/metrics.jsonl")) if "loss" in x]
host = losses("host")
for run, off in ("f32", 1e-4), ("bf16", 2e-2):
    mine = losses(run)
    assert len(mine) == len(host) and all(abs(a - b) < off for a, b in zip(mine, host)), (run, mine, host)
PYTHON
python3 near.py; ok $? "losses are the host's, in bf16 nearly"
grep -q '"dtype": "bf16"' runs/bf16/step-4/trainer_state.json && grep -q '"device": "cuda"' runs/bf16/step-4/trainer_state.json
ok $? "a checkpoint says device and types"
grep -q 'precision: f16-store' runs/bf16/run.yaml && grep -q 'precision: exact' runs/f32/run.yaml; ok $? "the run file that is kept says the precision"
try info runs/bf16/step-4 --json
[ $code -eq 0 ] && grep -q '"dtype": "F32"' out && ! grep -q '"BF16"' out; ok $? "weights are saved in float32"
try export runs/bf16/step-4 exported; ok $code "and exported"
for types in "" "$half"; do
    try check mask run.yaml --documents 1 $types
    [ $code -eq 0 ] && ! grep -qE 'LEAK|BLIND' out && grep -q '^0  *model ' out; ok $? "the mask holds on the GPU${types:+ in bf16}"
done
try train run.yaml --set output=runs/half --set steps=5 --set device=host --set model.rope.precision=f16-store --resume
[ $code -eq 0 ] && grep -q 'made with device cuda, going on with host: the bits may differ' err; ok $? "the host goes on, and says that bits may differ"
try train run.yaml $half --set output=runs/far --set offload.state=host --set offload.activations=host --set recompute=layer
ok $code "state and inputs of layers in the host's memory"
[ "$(sum runs/far/step-4)" = "$(sum runs/bf16/step-4)" ]; ok $? "change no bit"
try train run.yaml $half --set dtype.moments=i8 --set output=runs/i8; ok $code "moments in 8 bits"
try train run.yaml $half --set dtype.moments=i8 --set output=runs/i8-half --set steps=2
try train run.yaml $half --set dtype.moments=i8 --set output=runs/i8-half --resume
[ "$(sum runs/i8-half/step-4)" = "$(sum runs/i8/step-4)" ] && [ "$(sum runs/i8/step-4)" != "$(sum runs/bf16/step-4)" ]
ok $? "are others, and resumed bit for bit"
try plan run.yaml $half --no-time; [ $code -eq 0 ] && grep -q 'precision f16-store' out; ok $? "a plan of the GPU's memory"

try bench attention --device cuda --tokens 96 --heads 2 --groups 1 --size 64 --documents 2 --anchor --seconds 0 --json
[ $code -eq 0 ] && grep -q '"device": "cuda", "precision": "f16-store", "variant": "sm' out; ok $? "attention is timed on the GPU"
try bench attention --device cuda --tokens 32 --heads 1 --precision bf16-eager; says 1 'has no kernel for precision bf16-eager'
try bench step --device cuda --preset tiny --window 64 --windows 1 --steps 1 --recompute layer --moments host --offload --json
[ $code -eq 0 ] && grep -q '"device": "cuda", "dtype": "bf16", "moments": "host"' out; ok $? "and a step"
try bench rope --device cuda --tokens 48 --heads 1 --size 64 --time-tokens 48 --time-heads 1 --json
python3 - <<'PYTHON'
import json
rows = [json.loads(line) for line in open("out")]
mean = {(r["precision"], r["frame"], r["shift"]): r["mean"] for r in rows if r["bench"] == "rope rows"}
order = ["exact", "split", "f16-store", "bf16-store"]
for shift in 16, 1 << 20:
    ladder = [mean[p, "window", shift] for p in order]
    assert ladder == sorted(ladder) and ladder[3] > 2 * ladder[2] > 20 * ladder[1] > 40 * ladder[0], ladder
assert all(x == 0 for (p, frame, s), x in mean.items() if frame == "document")
PYTHON
ok $? "the ladder of precisions as the GPU's kernels have it; by document nothing moves"
try train run.yaml --set model.rope.precision=bf16-eager --set output=runs/no
[ $code -eq 1 ] && grep -q 'device cuda, dtype f32, precision bf16-eager: .*no variant serves' err; ok $? "a precision that no kernel has is refused at the start"
echo done
