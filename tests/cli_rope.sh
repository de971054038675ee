#!/bin/bash
# Families and RoPE as a user meets them: trained, resumed, trained on, refused. Usage: tests/cli_rope.sh build/gcc
. tests/command.sh

weights() { sha256sum "$1/model.safetensors" | cut -d' ' -f1; }

mkdir data
numbered 30 >data/a.jsonl
cat >run.yaml <<'YAML'
model: {init: {arch: mistral, preset: tiny, seed: 3}}
tokenizer: bytes
data: {train: data/a.jsonl}
window: 256
batch: {windows: 2}
optim: {lr: 1e-3}
steps: 4
save: {every: 2}
output: runs/mistral
YAML
in_two() {  # NAME ARGS...: a run in one piece and a run that goes on after step 2 end in the same bits
    local name=$1; shift
    try train run.yaml "$@" --set output=runs/"$name"
    [ $code -eq 0 ] || { ok 1 "$name trains"; return; }
    cp -r runs/"$name" runs/"$name-two"; rm -rf runs/"$name-two/step-4"
    try train run.yaml "$@" --set output=runs/"$name-two" --resume
    [ $code -eq 0 ] && [ "$(weights runs/"$name"/step-4)" = "$(weights runs/"$name-two"/step-4)" ]
    ok $? "$name trains, and resumes to the same bits"
}

try init fresh --arch mistral --preset tiny
[ $code -eq 0 ] && grep -q '"MistralForCausalLM"' fresh/config.json && grep -q '"sliding_window": null' fresh/config.json
ok $? "init makes a Mistral without a sliding window"
in_two mistral
in_two dynamic --set 'model.rope.scaling={type: dynamic, factor: 4}'
in_two yarn --set 'model.rope.scaling={type: yarn, factor: 4, original_max_position_embeddings: 64, truncate: false}'
in_two ntk --set 'model.rope.scaling={type: ntk, factor: 4}'

try train run.yaml --set model.rope.theta="$(awk 'BEGIN { printf "%.17g", 1e4 * 4 ^ (16 / 14) }')" --set output=runs/base
[ $code -eq 0 ] && [ "$(weights runs/base/step-4)" = "$(weights runs/ntk/step-4)" ] &&
    [ "$(weights runs/base/step-4)" != "$(weights runs/mistral/step-4)" ]
ok $? "ntk is a larger base, to the bit"
grep -q '"rope_type": "default"' runs/ntk/step-4/config.json; ok $? "ntk is written as type default"
try train run.yaml --set 'model={path: runs/ntk/step-4, rope: {scaling: {type: ntk, factor: 4}}}' --set output=runs/ntk-on
[ $code -eq 0 ] && cmp -s runs/ntk/step-4/config.json runs/ntk-on/step-4/config.json
ok $? "trained on with the same run file, ntk is not applied again"
rm -rf runs/yarn-two/step-4
try train run.yaml --set 'model.rope.scaling={type: yarn, factor: 8}' --set output=runs/yarn-two --resume
says 2 "model.rope: the run file says type yarn, theta 10000, factor 8; the run that it goes on with has type yarn, theta 10000, factor 4"
try train run.yaml --set model.rope.theta=5e6 --set output=runs/yarn-two --resume
says 2 "theta 5e+06"

in_two window --set model.rope.frame=window
for precision in f32-angle split f16-store bf16-store bf16 bf16-eager; do
    in_two $precision --set model.rope.precision=$precision --set model.rope.frame=window
    [ "$(weights runs/$precision/step-4)" != "$(weights runs/window/step-4)" ]; ok $? "$precision trains another model"
done
rm -rf runs/bf16-two/step-4
try train run.yaml --set model.rope.precision=bf16-store --set model.rope.frame=window --set output=runs/bf16-two --resume
says 2 'precision was "bf16" and is now "bf16-store"'
try plan run.yaml --no-time --set model.rope.precision=bf16-store
[ $code -eq 0 ] && grep -q 'precision bf16-store, frame document' out; ok $? "kedge plan names the precision"

try bench rope --json --samples 1 --heads 2 --tokens 24 --time-tokens 64 --rounds 1 --svg rope.svg
[ $code -eq 0 ] && [ "$(wc -l <out)" -eq $((7 * 2 * 8 + 7)) ] && grep -q '</svg>' rope.svg; ok $? "bench rope measures every precision"
grep '"frame": "document"' out | grep -qv '"max": 0,'; [ $? -eq 1 ]; ok $? "in frame document nothing moves"
awk -F'[:,]' '/"frame": "window", "shift": 131072/ { gsub(/[" ]/, "", $4); rms[$4] = $12 + 0 }
    END { exit !(rms["exact"] < 1e-6 && rms["split"] < 3e-5 && rms["f16-store"] < 2e-3 && rms["bf16-store"] > 2e-3 &&
                 rms["bf16"] > rms["bf16-store"] && rms["f32-angle"] > 1e-4) }' out
ok $? "in frame window each as much as its name says"

copy() { rm -rf model; cp -r "$golden/$1" model; rm model/expected*; }
wide() { sed -i 's/"vocab_size": [0-9]*/"vocab_size": 320/' model/config.json; }
copy rope-longrope
sed -i 's/"rope_type": "longrope"/"type": "su"/' model/config.json
wide
try train run.yaml --set 'model={init: {config: model/config.json}}' --set window=64 --set output=runs/short
ok $code "longrope's old name trains within its original length"
try train run.yaml --set 'model={init: {config: model/config.json}}' --set window=128 --set output=runs/long
ok $code "and beyond it"
try train run.yaml --set 'model.rope.scaling=longrope' --set output=x
says 2 "model.rope.scaling: longrope's factors are read from the checkpoint, whose type is default"

copy mistral; wide
init='model={init: {config: model/config.json}}'
try train run.yaml --set "$init" --set window=80 --set output=runs/fits
ok $code "a sliding window as long as the window hides nothing"
try train run.yaml --set "$init" --set window=81 --set output=x
says 2 "model.sliding_window: the checkpoint lets a token see 80 tokens, the window has 81"
[ ! -e x ]; ok $? "and nothing is left behind"
try train run.yaml --set "$init" --set model.sliding_window=lift --set window=81 --set output=runs/lifted
[ $code -eq 0 ] && grep -q '"sliding_window": null' runs/lifted/step-4/config.json; ok $? "lifted, config.json says so"
try train run.yaml --set "$init" --set model.sliding_window=lift --set window=81 --set output=runs/lifted --set steps=5 --resume
ok $code "and the run goes on"
sed -i '/"sliding_window"/d' model/config.json
try train run.yaml --set "$init" --set window=8K --set output=x
says 2 "lets a token see 4096 tokens, the window has 8192"

# An offset of all positions: by document the same bits, by window at precision exact nearly the same, in bf16 others.
for at in 0 1M; do for how in document:exact window:exact window:bf16-store; do
    try train run.yaml --set mask=document --set model.rope.frame=${how%:*} --set model.rope.precision=${how#*:} --set offset=$at --set output=runs/at-$at-$how
done; done
[ $code -eq 0 ] && [ "$(weights runs/at-0-document:exact/step-4)" = "$(weights runs/at-1M-document:exact/step-4)" ]
ok $? "an offset of positions changes no bit by document"
python3 - <<'PYTHON'
import json
def first(run): return next(x["loss"] for x in map(json.loads, open(f"runs/{run}/metrics.jsonl")) if "grad_norm" in x)
exact, half = ([first(f"at-{at}-window:{how}") for at in ("0", "1M")] for how in ("exact", "bf16-store"))
assert abs(exact[0] - exact[1]) < 2e-6 and half[0] != half[1], (exact, half)
PYTHON
ok $? "by window nearly none when exact, and others in bf16"
try train run.yaml --set offset=9M --set output=runs/x; says 2 'offset: 9437184 is outside'
echo done
