#!/bin/bash
# The paper's run files: each data set, model and attention is a run file that is accepted, and the script goes from text to
# a trained model. Usage: tests/cli_paper.sh build/gcc
paper=$(realpath examples/paper)
. tests/command.sh
export KEDGE=$kedge MODELS=models TRAIN='text/*.jsonl' VALID=text/Book.jsonl OUT=paper

# The seven domains' names; lengths on both sides of what upsampling thins.
mkdir text
for set in CommonCrawl C4 Github ArXiv Book Wikipedia StackExchange; do
    numbered 60 | sed "s/}\$/, \"meta\": {\"redpajama_set_name\": \"RedPajama$set\"}}/" >text/$set.jsonl
done

datasets="slimpajama-64k slimpajama-128k upsampledmix-128k"
models="llama-2-7b llama-3-8b mistral-7b-v0.3 qwen1.5-1.8b"
attentions="full intra-doc intra-doc+reset intra-doc+interleaved anchor anchor+tag anchor+interleaved"

# Every combination's own commands. A run file is read whole before anything else is opened, so that what is missed is the
# model's tokenizer says that every key was accepted.
bad=0 count=0
for dataset in $datasets; do for model in $models; do for attention in $attentions; do
    commands=$("$paper/run" --print $dataset $model $attention | grep -E "$kedge (pack|train) ") || bad=1
    while read -r line; do
        count=$((count + 1))
        eval "$line" >out 2>err; code=$?
        [ $code -eq 2 ] && grep -q "models/$model" err && ! grep -qE 'yaml:|--set|unknown' err || { bad=1; echo "$line"; cat err; }
    done <<<"$commands"
done; done; done
[ $bad -eq 0 ] && [ $count -eq 168 ]; ok $? "84 runs: every run file is accepted, only the models are missing"
[ -z "$(find paper -type f 2>/dev/null)" ]; ok $? "and nothing was made"

"$kedge" init models/llama-2-7b --arch llama --preset tiny >out 2>err
"$kedge" init models/qwen1.5-1.8b --arch qwen2 --preset tiny >out 2>err
small() { "$paper/run" "$@" --set tokenizer=bytes --set window=512 --set batch.windows=1 --set steps=2 --set eval.windows=1 \
              --set data.tokens=64K --set export='{every: 1, last: 1}' >out 2>err; code=$?; }
for attention in $attentions; do
    small slimpajama-64k llama-2-7b $attention
    [ $code -eq 0 ] && [ -e paper/runs/slimpajama-64k/llama-2-7b/$attention/export/step-2/model.safetensors ]
    ok $? "from text to a trained model: $attention"
done
small upsampledmix-128k qwen1.5-1.8b anchor --set data.upsample.shorter_than=300
[ $code -eq 0 ] && grep -q 'thinned by upsampling' out; ok $? "and another data set and model"
[ "$(ls paper/packs/slimpajama-64k)" = "$(printf 'llama-2-7b-anchor\nllama-2-7b-bos\nllama-2-7b-tag')" ] && [ "$(ls paper/tokens)" = "$(printf 'llama-2-7b\nqwen1.5-1.8b')" ]
ok $? "seven attentions share three packs, and those their tokens"
grep -q '"planned": 0.54' paper/packs/slimpajama-64k/llama-2-7b-anchor/report.json; ok $? "with the shares of table 9"
grep -q 'theta: 5e+06' paper/runs/slimpajama-64k/llama-2-7b/anchor/run.yaml && grep -q 'theta: 1e+07' paper/runs/upsampledmix-128k/qwen1.5-1.8b/anchor/run.yaml
ok $? "and the base of the window"

"$paper/run" slimpajama-64k llama-2-7b anchors >out 2>err; code=$?
[ $code -eq 2 ] && grep -q '^usage' err; ok $? "another word is answered with what there is"
echo done
