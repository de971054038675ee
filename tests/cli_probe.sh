#!/bin/bash
# kedge probe as a user meets it: pictures, numbers, limits, dumps, and what is refused. Usage: tests/cli_probe.sh build/gcc
. tests/command.sh

numbered 40 >texts.jsonl
seq -s ' ' 1 4000 >book.txt
"$kedge" init model --preset tiny >out 2>err; ok $? "a model of bytes"

try probe --model model --text texts.jsonl --length 48 --lengths 8,16,32,48 --shifts 0,4,16,1K --random --out probe
ok $code "a model and a fresh one, at four precisions"
for file in report.html probe.json heads.csv heads.svg sink.svg figure1_{left,middle,right}.{svg,csv} figure7_{left,right}.{svg,csv}; do
    [ -s probe/$file ] || { ok 1 "$file is there"; break; }
done
[ "$(ls probe | wc -l)" -eq 15 ]; ok $? "fifteen files, each of them full"
[ "$(grep -c '^model  *\(bf16\|f32-angle\|exact\)\|^random model ' out)" -eq 16 ]; ok $? "a line a curve and mode"
python3 - <<'PY'
import json
assert len(json.load(open("probe/probe.json"))["curves"]) == 8
PY
ok $? "probe.json is JSON"
grep -q '<script' probe/report.html; [ $? -eq 1 ]; ok $? "the page runs nothing"
try probe --model model --text texts.jsonl --length 48 --precisions bf16 --shifts 16 --out again --json
[ $code -eq 0 ] && [ "$(wc -l <out)" -eq 2 ] && grep -q '"mode":"isolated"' out; ok $? "--json: a line a curve and mode"
cp out first; try probe --model model --text texts.jsonl --length 48 --precisions bf16 --shifts 16 --out again --json --threads 1
sed 's/"seconds.*//' out | cmp -s - <(sed 's/"seconds.*//' first); ok $? "the same numbers on one thread"
try probe --model model --text book.txt --length 64 --texts 3 --precisions exact,bf16 --frame document --out still
[ $code -eq 0 ] && [ "$(awk '$2 == "bf16" || $2 == "exact" { print $4 }' out | sort -u)" = 0 ]; ok $? "in frame document nothing moves"
try probe --model model --length 32 --texts 2 --precisions bf16 --out drawn
[ $code -eq 0 ] && grep -q 'random tokens, seed 1' out; ok $? "without a text, random tokens"
"$kedge" init other --preset tiny --seed 2 >out 2>err
try probe --model model --model other --length 16 --texts 1 --precisions bf16 --no-bos --shifts 64 --out two
[ $code -eq 0 ] && grep -q '^other' out; ok $? "two models in one picture"
try probe --model model --model "$golden/llama-plain" --length 16 --texts 1 --precisions bf16 --shifts 64 --out x
says 1 "llama-plain: token 0 is 256, the model's vocabulary has 97" 2

mv other $'\xff'
try probe --model $'\xff' --length 16 --texts 1 --precisions bf16 --shifts 64 --out two --json
[ $code -eq 0 ] && grep -q '"model":"unknown"' out; ok $? "a folder's name that is no text has none in JSON"

# limits
try probe --model model --text texts.jsonl --length 48 --precisions bf16 --shifts 16 --out limit --max-d 1e-9
says 1 "above --max-d 1e-09" 2
try probe --model model --text texts.jsonl --length 48 --precisions bf16 --shifts 16 --out limit --max-logit 1e-9
says 1 "above --max-logit 1e-09" 2
try probe --model model --text texts.jsonl --length 48 --precisions bf16 --shifts 16 --out limit --max-d 100 --max-logit 100
ok $code "limits that hold"

# a pack
cat >run.yaml <<'YAML'
tokenizer: bytes
data: {train: texts.jsonl}
window: 256
steps: 1
mask: document
output: run
model: {init: {arch: llama, preset: tiny, seed: 1}}
YAML
"$kedge" pack run.yaml --out pack >out 2>err; ok $? "a pack"
try probe --model model --pack pack --length 200 --texts 2 --precisions exact,bf16 --frame document --out packed
[ $code -eq 0 ] && grep -q 'mask document' out && [ "$(awk '$2 == "bf16" { print $4 }' out | sort -u)" = 0 ]
ok $? "whole documents moved anywhere: not a bit"
try probe --model model --pack pack --mask full --length 200 --texts 2 --precisions bf16 --out packed
[ $code -eq 0 ] && grep -q 'mask full' out; ok $? "the same windows under full attention"
"$kedge" pack run.yaml --set mask=anchor --out anchored >out 2>err
try probe --model model --pack anchored --length 200 --texts 2 --precisions bf16 --shifts 16,1K --out packed
[ $code -eq 0 ] && grep -q 'mask anchor' out; ok $? "behind a shared anchor"
try probe --model model --pack anchored --mask full --out x
says 2 "packed with a shared anchor"

# dumps
try probe --dump "$golden/dump_small.safetensors" --out dump
[ $code -eq 0 ] && grep -q 'bfloat16 (PyTorch)' out && [ -s dump/figure1_middle.svg ]; ok $? "another stack's queries and keys"
try probe --dump "$golden/dump_small.safetensors" --dump "$golden/dump_small.safetensors" --out dump --max-d 1e-3
says 1 "D between shifts 0 and 16 is 0.05691, above --max-d 0.001"
try probe --dump "$golden/llama-plain/model.safetensors" --out x
says 1 "names are layers.LAYER.q.SHIFT and layers.LAYER.k.SHIFT"
python3 - "$golden/dump_small.safetensors" <<'PY'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
size = struct.unpack("<Q", data[:8])[0]
head, body = json.loads(data[8:8 + size]), data[8 + size:]
def write(path, head, body=body):
    text = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + body)
shape = json.loads(json.dumps(head)); t = shape["layers.1.k.16"]; t["shape"] = [t["shape"][0], t["shape"][2], t["shape"][1]]
write("shape.safetensors", shape)
name = json.loads(json.dumps(head)); name["layers.2.k.16"] = name.pop("layers.1.k.16")
write("missing.safetensors", name)
nan = bytearray(body); at = head["layers.0.q.0"]["data_offsets"][0]; nan[at:at + 2] = b"\xc0\x7f"
write("nan.safetensors", head, bytes(nan))
PY
try probe --dump "$golden/../fuzz/corpus/dump/names" --out dump --json
[ $code -eq 0 ] && python3 -c 'import json; x = json.load(open("out")); assert set(x["model"]) == {"\u00e9"} and x["precision"] == "a??[2J"'
ok $? "long names are cut between characters, and give no orders to a terminal"
try probe --dump "$golden/../fuzz/corpus/dump/largest" --out x
says 1 "largest, as stored: attention is not finite in text 0"
try probe --dump shape.safetensors --out x
says 1 "shape.safetensors: tensor layers.1.k.16: its shape is [2, 16, 24], the first tensor's makes it [2, 24, 16]"
try probe --dump missing.safetensors --out x
says 1 "missing.safetensors: tensor layers.1.k.16 is missing"
try probe --dump nan.safetensors --out x
says 1 "nan.safetensors: tensor layers.0.q.0: element 0 is nan"

# refused
mkdir gpt; echo '{"model_type": "gpt2", "n_embd": 64}' >gpt/config.json
try probe --model gpt --out x
says 1 "gpt2"
try probe --model model --shifts 0,4294967296 --out x
says 2 "--shifts 4294967296: 0 to 2^24 less the 1024 tokens of a text"
try probe --model model --shifts -1 --out x
says 2 "--shifts -1"
try probe --model model --shifts 0,x --out x
says 2 "whole numbers, as in 0,16,128K"
try probe --model model --text texts.jsonl --length 100K --out x
says 2 "the longest of 40 has"
try probe --model model --text texts.jsonl --length 48 --texts 1000 --out x
says 2 "of 1000 texts of 48 tokens in texts.jsonl"
try probe --model model --text nothing.txt --out x
says 1 "nothing.txt"
try probe --model nowhere --out x
says 1 "nowhere"
try probe --model model --precisions bf17 --out x
says 2 "some of exact, f32-angle"
try probe --model model
says 2 "--out is missing"
try probe --out x
says 2 "--model or --dump is needed"
try probe --model model --frame absolute --out x
says 2 "it is window or document"
try probe --model "$golden/qwen2" --text texts.jsonl --out x
says 2 "has no tokenizer.json: name one with --tokenizer"
[ ! -e x ]; ok $? "what is refused leaves nothing"
echo done
