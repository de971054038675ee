#!/bin/bash
# The command as a user types it: train, resume, bad input. Stops and faults are in cli_faults.sh. Usage: tests/cli_train.sh build/gcc
. tests/command.sh

# Text of several domains, deterministic.
mkdir data
for i in $(seq 1 40); do
    printf '{"text": "document %d: %s", "meta": {"redpajama_set_name": "RedPajama%s"}}\n' "$i" \
        "$(seq -s ' ' "$i" $((i * 7)))" "$([ $((i % 2)) = 0 ] && echo Wikipedia || echo C4)"
done >data/a.jsonl
zstd -q data/a.jsonl -o data/b.jsonl.zst
cat >run.yaml <<'YAML'
model:
  init: {arch: llama, preset: tiny, seed: 3}
tokenizer: bytes
data:
  train: ["data/*.jsonl*"]
  valid: [data/a.jsonl]
window: 512
batch: {windows: 2, micro: 1}
optim: {lr: 1e-3, warmup: 2}
steps: 8
save: {every: 2, keep: 3}
eval: {every: 4, windows: 2}
output: runs/a
YAML

try train run.yaml
ok $code "a run trains"
[ "$(ls runs/a | grep -c '^step-')" -eq 3 ]; ok $? "three checkpoints are kept"
[ "$(grep -c '"grad_norm"' runs/a/metrics.jsonl)" -eq 8 ]; ok $? "one line of metrics a step"
grep -q '"by_position"' runs/a/metrics.jsonl; ok $? "validation loss by position"
try info runs/a/step-8
grep -q 'checkpoint *complete' out; ok $? "info verifies a checkpoint"
whole=$(sum runs/a/step-8)

for mask in full document anchor; do for extra in "positions=reset" "interleave=true" "tag=true" "separator=both"; do
    try train run.yaml --set mask=$mask --set $extra --set steps=2 --set output=runs/$mask-$extra
    ok $code "mask $mask with $extra"
done; done
try train run.yaml --set mask=anchor --set anchor_form=bos --set steps=2 --set output=runs/bos
ok $code "anchor_form bos"
try train run.yaml --set long_documents=truncate --set model.rope.frame=window --set recompute=none --set steps=2 --set output=runs/truncate
ok $code "truncated documents, frame window, nothing computed again"

try train run.yaml --set model.rope.theta=5e5 --set model.rope.scaling='{type: linear, factor: 2}' --set steps=2 --set output=runs/rope
[ $code -eq 0 ] && grep -q '"rope_parameters"' runs/rope/step-2/config.json && grep -q '"rope_scaling"' runs/rope/step-2/config.json &&
    "$kedge" info runs/rope/step-2 | grep -q 'rope_type *linear'
ok $? "a changed RoPE is written in both dialects"

for threads in 1 3; do
    try train run.yaml --set threads=$threads --set output=runs/t$threads
    [ "$(sum runs/t$threads/step-8)" = "$whole" ]; ok $? "$threads threads: the same bits"
done
try train run.yaml --set batch.micro=2 --set output=runs/micro
[ "$(sum runs/micro/step-8)" = "$whole" ]; ok $? "two windows at once: the same bits"
try train run.yaml --set offload.state=swap --set offload.activations=swap --set output=runs/files
[ "$(sum runs/files/step-8)" = "$whole" ] && rmdir swap; ok $? "moments and inputs of layers in files: the same bits, and nothing is left"
try train run.yaml --set offload.state=run.yaml --set output=runs/x; says 1 'run.yaml'
try train run.yaml --set output=runs/again
[ "$(sum runs/again/step-8)" = "$whole" ]; ok $? "run to run: the same bits"

# Bad input: one clear line, nothing written.
try train missing.yaml;                                says 1 'missing.yaml'
printf 'model: {init: {arch: llama, preset: tiny}}\nwindow: [1\n' >bad.yaml
try train bad.yaml;                                    says 2 'bad.yaml:3'
sed 's/^window: 512/window: 512\nwindwo: 7/' run.yaml >typo.yaml
try train typo.yaml;                                   says 2 'did you mean window'
try train run.yaml --set optim.lrr=1;                  says 2 'lr'
try train run.yaml --resum;                            says 2 'did you mean --resume'
try trian run.yaml;                                    says 2 'did you mean train'
try train run.yaml --set data.train=nothing/*.jsonl --set output=runs/x; says 1 'nothing/'
try train run.yaml --set dtype.weights=f16;            says 1 'not in this build yet'
try train run.yaml --set dtype.weights=bf16 --set dtype.activations=bf16; says 1 'bf16 weights and activations need device: cuda'
try train run.yaml --set device=gpu --set output=runs/x; says 2 'device gpu: it is one of host, cuda, or cuda:N'
mkdir tokenizer; echo '{}' >tokenizer/tokenizer.json
try train run.yaml --set tokenizer=tokenizer --set output=runs/x; says 1 'tokenizer.json: "model"'
printf '{"text": "ab\xff"}\n' >utf8.jsonl
try train run.yaml --set data.train=utf8.jsonl --set output=runs/x; says 1 'utf8.jsonl:1'
head -c 200 data/b.jsonl.zst >cut.jsonl.zst
try train run.yaml --set data.train=cut.jsonl.zst --set output=runs/x; says 1 'cut.jsonl.zst: byte'
copy() { rm -rf model; cp -r "$golden/$1" model; }
sed '/^model:/d; s/^  init:.*/model: {path: model}/' run.yaml >from.yaml
for shape in llama-plain llama-grouped llama-linear qwen2; do
    copy $shape
    try train from.yaml --set output=runs/$shape;      says 2 'vocabulary'
done
copy llama-plain; sed -i 's/"llama"/"mamba"/' model/config.json
try train from.yaml --set output=runs/x;               says 1 'unknown model_type "mamba"'
copy llama-linear; sed -i 's/"linear"/"spiral"/' model/config.json
try train from.yaml --set output=runs/x;               says 1 'unknown RoPE type "spiral"'
cp -r runs/a/step-8 whole
rm -rf model; cp -r whole model; truncate -s -100 model/model.safetensors
try train from.yaml --set output=runs/x;               says 1 'model.safetensors' 4
rm -rf model; cp -r whole model; sed -i 's/"intermediate_size": 176/"intermediate_size": 160/' model/config.json
try train from.yaml --set output=runs/x;               says 1 'config.json needs' 4
rm -rf model; cp -r whole model; rm model/model.safetensors
try train from.yaml --set output=runs/x;               says 1 'model.safetensors' 4
[ ! -e runs/x ]; ok $? "a run that never began leaves nothing behind"
rm -rf model; cp -r whole model; printf 'tokenizer file' >model/tokenizer.json
try train from.yaml --set steps=2 --set output=runs/from
[ $code -eq 0 ] && cmp -s model/tokenizer.json runs/from/step-2/tokenizer.json && cmp -s model/config.json runs/from/step-2/config.json
ok $? "tokenizer and config files come through byte for byte"
try train from.yaml --set steps=6 --set save.every=1 --set save.keep=1 --set output=runs/from --resume
[ $code -eq 0 ] && [ ! -e runs/from/step-5 ] && cmp -s model/tokenizer.json runs/from/step-6/tokenizer.json
ok $? "they outlive the checkpoint that was resumed from"

# Moments in 8 bits: saved as float32, and gone on from as if nothing had been.
try train run.yaml --set dtype.moments=i8 --set output=runs/i8
coded=$(sum runs/i8/step-8)
[ "$coded" != "$whole" ]; ok $? "moments in 8 bits are others"
try train run.yaml --set dtype.moments=i8 --set output=runs/i8-half --set steps=4
try train run.yaml --set dtype.moments=i8 --set output=runs/i8-half --resume
[ "$(sum runs/i8-half/step-8)" = "$coded" ]; ok $? "a run with moments in 8 bits is resumed with the same bits"
try train run.yaml --set dtype.moments=i8 --set output=runs/i8 --set parallel.data=2
says 1 'dtype.moments: i8: of one rank alone'
try init runs/a/step-8 --preset tiny;                  says 2 'holds a model already'
try init few --preset tiny --vocabulary 100;           says 2 'the tokenizer bytes has 259 ids'
try init fresh --preset tiny --seed 4 && try info fresh --json
grep -q '"parameters"' out; ok $? "init makes a model that info reads"
try bench step --preset tiny --vocabulary 259 --window 64 --windows 2 --steps 1 --json
[ $code -eq 0 ] && grep -q '"executed_share": .*"parts": {.*"matmul": ' out; ok $? "bench step says what each operation takes"
grep '"step":6,' runs/from/metrics.jsonl | grep -q '"parts":{.*"attn_forward":'
ok $? "and so does every step of a run"
try bench step --mask half; says 2 "it is full, document or anchor"
for command in init train info bench; do try $command --help; [ $code -eq 0 ] && grep -q 'usage: kedge' out; ok $? "$command --help"; done
echo done
