#!/bin/bash
# kedge check as a user, and CI, meets it: what holds, what does not, and every kind of fault planted. Usage: tests/cli_check.sh build/gcc
. tests/command.sh

numbered 30 >texts.jsonl
cat >run.yaml <<'YAML'
model: {init: {arch: llama, preset: tiny, seed: 1}}
tokenizer: bytes
data: {train: texts.jsonl}
window: 256
mask: anchor
batch: {windows: 2}
steps: 1
output: run
YAML

# mask
try check mask run.yaml
[ $code -eq 0 ] && ! grep -qE 'LEAK|BLIND' out && grep -q '^0  *attention  the anchor  *256/256 ' out && grep -q '^0  *model ' out
ok $? "a run with an anchor: attention and model hold"
for set in mask=full mask=document anchor_form=bos positions=reset interleave=true tag=true model.rope.precision=bf16 model.rope.frame=window recompute=layer; do
    try check mask run.yaml --documents 1 --set $set
    [ $code -eq 0 ] && ! grep -qE 'LEAK|BLIND' out; ok $? "$set holds"
done
for mode in ulysses allgather zigzag; do
    try check mask run.yaml --documents 1 --set parallel.sequence=2 --set parallel.mode=$mode
    [ $code -eq 0 ] && grep -q "2 ranks by $mode" out; ok $? "two ranks by $mode hold"
done
try check mask run.yaml --documents 1 --windows 2 --attention
[ $code -eq 0 ] && grep -q '^1  *attention' out && ! grep -q '^[01]  *model' out; ok $? "two windows, attention alone"
try check mask run.yaml --documents 1 --set mask=full --expect document
[ $code -eq 1 ] && grep -q 'the mask leaks: touching document 0' err && grep -q '^0  *model .* LEAK$' out; ok $? "full attention over documents leaks, 1"
try check mask run.yaml --documents 1 --set mask=document --expect full --json
[ $code -eq 1 ] && grep -q 'hides too much' err; ok $? "a mask that hides what may be seen is no mask, 1"
python3 - <<'PY'
import json
x = json.load(open("out"))
assert x["check"] == "mask" and not x["holds"] and {r["of"] for r in x["rows"]} == {"attention", "model"}
assert "blind" in {r["verdict"] for r in x["rows"]} and x["rows"][0]["outputs_moved"]["inside_of"] > 0
PY
ok $? "--json: one object that says so"
"$kedge" pack run.yaml --out pack >out 2>err
try check mask pack --windows 2
[ $code -eq 0 ] && grep -q '^1  *attention' out; ok $? "a pack, without its tokenizer"
"$kedge" pack run.yaml --out tagged --set tag=true >out 2>err
try check mask tagged; says 2 "its documents have tags: their tokenizer must be named"
try check mask tagged --tokenizer bytes; ok $code "a pack with tags, with it"

# a run: by itself at the start, and its folder
try train run.yaml --set steps=2 --set save.every=1
[ $code -eq 0 ] && grep -q 'kedge: mask checked: .* moved inside, 0 of' err; ok $? "training begins with a check"
python3 - <<'PY'
import json
start = json.loads(open("run/metrics.jsonl").readline())
assert start["mask"]["moved_outside"] == 0 and start["mask"]["moved_inside"] > 0 and start["mask"]["outside"] > 0
PY
ok $? "and its metrics say so"
try check mask run; ok $code "a run's folder: its newest checkpoint"
try check mask run/step-1 --documents 1; ok $code "a checkpoint"
try train run.yaml --set steps=2 --set save.every=1 --set output=unchecked --set check.mask=false
[ $code -eq 0 ] && ! grep -q 'mask checked' err && [ "$(sum run/step-2)" = "$(sum unchecked/step-2)" ]; ok $? "without it the same bits"
try train run.yaml --set steps=3 --resume
[ $code -eq 0 ] && grep -q 'mask checked' err; ok $? "a resumed run is checked too"

# rope
"$kedge" init model --preset tiny >out 2>err
try check rope --model model --length 96
[ $code -eq 0 ] && grep -q '^model  exact .* holds$' out; ok $? "exact rotation holds"
try check rope --model model --length 96 --precision exact,bf16 --max-d 1e-5
[ $code -eq 1 ] && grep -q '^model  exact .* holds$' out && grep -q '^model  bf16 .* MOVES$' out && grep -q 'D a head is .* above 1e-05' err
ok $? "bf16 does not, 1"
try check rope --dump "$golden/dump_small.safetensors"
[ $code -eq 1 ] && grep -q 'bfloat16 (PyTorch).* 0.0003 .* MOVES$' out; ok $? "another stack's bf16, by the default threshold"
try check rope --dump "$golden/dump_small.safetensors" --max-d 1 --json
[ $code -eq 0 ] && python3 -c 'import json; x = json.load(open("out")); assert x["holds"] and x["rows"][0]["d_at_most"] == 1'; ok $? "--json"
try check rope --dump "$golden/dump_small.safetensors" --max-d 1 --max-logit 1e-3; says 1 "the largest change of a logit is" 2
try check rope; says 2 "check rope: --model or --dump is needed"
try check rope --model model --shifts 1,x; says 2 "check rope: --shifts 1,x: whole numbers"

# model
try check model model
[ $code -eq 0 ] && ! grep -qE '^(warning|FAILED)' out; ok $? "a fresh model is whole"
try check model run/step-2 --strict; ok $code "so is a checkpoint"
# spoil NAME PYTHON: a copy of the model whose tensors (name: (dtype, shape, bytes)), or config, the code changes
spoil() {
    rm -rf "$1"; cp -r model "$1"
    python3 - "$1" "$2" <<'PY'
import json, struct, sys
folder, code = sys.argv[1:]
data = open(folder + "/model.safetensors", "rb").read()
size = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8:8 + size])
meta = head.pop("__metadata__", None)
tensors = {n: [h["dtype"], h["shape"], bytearray(data[8 + size:][h["data_offsets"][0]:h["data_offsets"][1]])] for n, h in head.items()}
config = json.load(open(folder + "/config.json"))
exec(code)
at, head, body = 0, {"__metadata__": meta} if meta else {}, b""
for n, (dtype, shape, raw) in tensors.items():
    head[n] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
    at += len(raw); body += raw
text = json.dumps(head).encode(); text += b" " * (-len(text) % 8)
open(folder + "/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + body)
json.dump(config, open(folder + "/config.json", "w"))
PY
}
# finds CODE "text": the last command ended with CODE and said so
finds() { [ "$code" -eq "$1" ] && grep -qF -- "$2" out; ok $? "exit $1: $2"; }
k=model.layers.1.self_attn.k_proj.weight
spoil x "del tensors['$k']"; try check model x; finds 1 "$k is missing"
spoil x "tensors['extra'] = ['F32', [1], bytes(4)]"; try check model x; finds 1 "extra is surplus"
spoil x "tensors['$k'][1].reverse()"; try check model x; finds 1 "$k: its shape is [64, 32], config.json needs [32, 64]"
spoil x "tensors['$k'] = ['I8', [32, 64], bytes(2048)]"; try check model x; finds 1 "$k is I8"
spoil x "tensors['$k'][2][40:44] = struct.pack('<f', float('nan')); tensors['$k'][2][80:84] = struct.pack('<f', float('-inf'))"
try check model x; finds 1 "$k holds 1 NaN and 1 infinite, the first at 10"
try check model x --no-scan; ok $code "which is not seen without reading weights"
spoil x "tensors['$k'][2][40:44] = struct.pack('<f', 1e5)"; try check model x; finds 0 "$k holds 100000: float16 ends at 65504"
try check model x --strict; says 1 "x: 0 failures, 1 warning (--strict)"
spoil x "tensors['$k'][2][:] = bytes(len(tensors['$k'][2]))"; try check model x; finds 0 "$k is all zeros"
spoil x "config['rope_parameters'] = {'rope_type': 'mystery'}"; try check model x; finds 1 'unknown RoPE type "mystery"'
spoil x "config['rope_scaling'] = {'type': 'linear', 'factor': 2.0}"; try check model x; finds 0 'says "type"'
spoil x "config.pop('rope_theta', 0); config['rope_parameters'] = {'rope_type': 'default', 'rope_theta': 5e5}"
try check model x; finds 0 "rope_theta 500000 stands in rope_parameters alone"
spoil x "config['rope_scaling'] = {'rope_type': 'yarn', 'factor': 4.0, 'original_max_position_embeddings': config['max_position_embeddings']}"
try check model x; finds 0 "yarn: factor 4, but max_position_embeddings"
spoil x "config['mystery_norm'] = 3"; try check model x; finds 0 'key "mystery_norm" is not known here'
cp "$golden/tokenizers/llama3/tokenizer.json" x/
try check model x; [ $code -eq 1 ] && grep -q '^FAILED   tokenizer' out; ok $? "a tokenizer with more ids than rows, or none that opens"
truncate -s -1 x/model.safetensors; try check model x --json
[ $code -eq 1 ] && python3 -c 'import json; x = json.load(open("out")); assert not x["holds"] and x["failures"] > 0 and any(f["part"] == "files" for f in x["findings"])'
ok $? "a truncated file, as JSON"
try check model nowhere; says 1 "nowhere: no such folder"

# usage
try check; [ $code -eq 2 ] && grep -q '^  mask ' err; ok $? "kedge check alone lists the checks"
try check maks; says 2 "did you mean mask?"
try check mask; says 2 "kedge check mask RUN.yaml"
try check mask model; says 2 "neither a run's folder (run.yaml) nor a pack"
try check mask run.yaml --expect all; says 2 "it is full, document or anchor"
try check model; says 2 "kedge check model DIR"
echo done
