#!/bin/bash
# The command as a user types it: packs that are trained on, token datasets in and out. What pack prints is in cli_pack.sh.
# Usage: tests/cli_data.sh build/gcc
. tests/command.sh
export KEDGE_ISA=${KEDGE_ISA:-}

mkdir data
for set in C4 Book Github; do
    numbered 30 | sed "s/}\$/, \"meta\": {\"redpajama_set_name\": \"RedPajama$set\"}}/" >data/$set.jsonl
done
cat >run.yaml <<'YAML'
model: {init: {arch: llama, preset: tiny, seed: 3}}
tokenizer: bytes
data:
  train: ["data/*.jsonl"]
  valid: [data/Book.jsonl]
  mixture: {C4: 0.5, Book: 0.3, Github: 0.3}
  upsample: {shorter_than: 300, keep: 0.5}
window: 256
mask: anchor
tag: true
interleave: true
batch: {windows: 2}
steps: 3
eval: {every: 3, windows: 1}
output: runs/texts
YAML

try pack run.yaml --out packs/a --quiet;                              ok $code "a pack is made"
try train run.yaml --quiet;                                           ok $code "a run reads texts"
try train run.yaml --quiet --set output=runs/pack --set data.pack=packs/a; ok $code "a run reads the pack"
try train run.yaml --quiet --set output=runs/store --set data.train=packs/a/tokens/train --set data.valid=packs/a/tokens/valid
ok $code "a run reads the pack's tokens and fills windows itself"
[ "$(sum runs/texts/step-3)" = "$(sum runs/pack/step-3)" ];           ok $? "texts and pack: the same bits"
[ "$(sum runs/texts/step-3)" = "$(sum runs/store/step-3)" ];          ok $? "texts and tokens: the same bits"
try train run.yaml --quiet --resume --set data.pack=packs/a --set steps=5; ok $code "a run on texts goes on with the pack"
try train run.yaml --quiet --set output=runs/whole --set steps=5
[ "$(sum runs/texts/step-5)" = "$(sum runs/whole/step-5)" ];          ok $? "and has the bits of a run that did not stop"

try train run.yaml --quiet --set output=runs/no --set data.pack=packs/a --set window=512
says 2 "data.pack: packs/a: packed with another window (256, here 512)"
try train run.yaml --quiet --set output=runs/no --set data.pack=packs/b; says 2 "data.pack: packs/b is not there: kedge pack makes it"
try train run.yaml --quiet --set output=runs/no --set data.pack=packs/a --set tokenizer="$golden/tokenizers/llama2"
says 2 "packed with another tokenizer"
try init model --preset tiny --tokenizer "$golden/tokenizers/llama2"
[ $code -eq 0 ] && cmp -s model/tokenizer.json "$golden/tokenizers/llama2/tokenizer.json"; ok $? "a fresh model has its tokenizer's files"
sed 's/^model.*/model: {path: model}/' run.yaml >path.yaml
try train path.yaml --quiet --set output=runs/no --set tokenizer="$golden/tokenizers/llama3"; says 2 "the model's own has"
try train path.yaml --quiet --set output=runs/path --set tokenizer="$golden/tokenizers/llama2"; ok $code "with its own it trains"
cmp -s runs/path/step-3/tokenizer.json model/tokenizer.json;          ok $? "and its checkpoints have it"
printf '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
 "num_attention_heads": 1, "vocab_size": 260, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4}' >small.json
try init small --config small.json --tokenizer "$golden/tokenizers/llama2"; says 2 "vocab_size 260: the tokenizer"
[ ! -e runs/no ];                                                     ok $? "a run that never began leaves nothing"
try pack run.yaml --out packs/a --quiet --set window=1M; says 2 'chosen of 90: not one window of 1048576'
try pack run.yaml --out packs/a --quiet --set data.mixture='{Books: 1}'; says 2 "data.mixture: no document is of source Books; there are Book, C4, Github"
[ -e packs/a/pack.json ];                                             ok $? "a pack that cannot be made again stays as it was"

# ---- killed at any moment ----
for i in $(seq 60); do printf '{"text": "%s"}\n' "$(seq -s ' ' "$i" $((i + 3000)))"; done >long.jsonl
long=(pack run.yaml --quiet --set data.train=long.jsonl --set data.valid=long.jsonl --set "data.mixture={(none): 1}" --set data.shard=16K)
try "${long[@]}" --out packs/whole;                                   ok $code "an undisturbed pack"
RANDOM=${KEDGE_SEED:-$$}
for i in $(seq 12); do
    "$kedge" "${long[@]}" --out packs/killed >out 2>err & pid=$!
    sleep 0.0$((RANDOM % 5))$((RANDOM % 10)); kill -9 $pid 2>/dev/null; wait $pid 2>/dev/null
done
try "${long[@]}" --out packs/killed
[ $code -eq 0 ] && diff -r packs/whole packs/killed;                  ok $? "killed twelve times, then the same bytes"

# ---- tokens in and out ----
try export packs/a docs.idx --eos;                                    ok $code "documents as a Megatron dataset"
try pack run.yaml --out packs/m --quiet --set data.train=docs.idx --set data.valid=docs.idx --set data.mixture='{docs: 1}'
ok $code "and a pack of it"
cat >ids.jsonl <<'JSONL'
{"input_ids": [256, 72, 105, 33, 72, 111], "labels": [-100, -100, -100, -100, 72, 111]}
{"input_ids": [72, 105, 33, 72, 111], "loss_mask": [0, 0, 0, 1, 1]}
JSONL
for i in $(seq 60); do cat ids.jsonl; done >many.jsonl
sed '/upsample/d; /mixture/d; s/^tag.*/tag: false/' run.yaml >ids.yaml
try plan ids.yaml --no-time --json --set data.train=many.jsonl --set data.valid=many.jsonl
grep -o '"targets": *[0-9.]*' out | awk -F: '{ share = $2 / (2 * 256) } END { exit !(share > 0.35 && share < 0.41) }'
ok $? "two of five tokens are targets"
printf '{"input_ids": [1, 2], "labels": [1, 3]}\n' >wrong.jsonl
try train ids.yaml --quiet --set output=runs/no --set data.train=wrong.jsonl; says 1 "wrong.jsonl:1: labels[1] is 3, input_ids[1] is 2"

# ---- as AnchorContext packs ----
try pack ids.yaml --upstream flash --set data.train=data/C4.jsonl --set window=64
[ $code -eq 0 ] && [ "$(grep -c '"engine": *"flash"' out)" -gt 10 ];  ok $? "rows as AnchorContext makes them"
try pack ids.yaml --upstream fast; says 2 "--upstream fast: it is one of flash, flex"
echo done
