#!/bin/bash
# kedge generate as a user meets it: text, JSON, stops, anchors and BOS, and what is refused. Usage: tests/cli_generate.sh build/gcc
. tests/command.sh

"$kedge" init model --preset tiny --window 512 >out 2>err; ok $? "a model of bytes"

try generate --model model --prompt "The tide" --max-tokens 12
[ $code -eq 0 ] && [ "$(wc -c <out)" -ge 12 ] && grep -q '9 tokens read' err; ok $? "a text, and on stderr what it took"
cp out first
try generate --model model --prompt "The tide" --max-tokens 12 --threads 1; cmp -s out first; ok $? "the same on one thread"
printf 'The tide' >prompt.txt
try generate --model model --file prompt.txt --max-tokens 12; cmp -s out first; ok $? "the same from a file"
"$kedge" generate --model model --max-tokens 12 <prompt.txt >out 2>err; cmp -s out first; ok $? "the same from standard input"

# field NAME: of the object in out
field() { python3 -c 'import json, sys; x = json.load(open("out")); print(eval("x" + sys.argv[1]))' "$1"; }
try generate --model model --prompt "The tide" --max-tokens 12 --json
[ "$(field '["finish"]')" = length ] && [ "$(field '["text"].encode().hex()')" = "$(head -c -1 first | od -An -tx1 | tr -d ' \n')" ]
ok $? "--json has the same text"
[ "$(field '["prompt_tokens"]') $(field '["subject"]["anchor"]') $(field '["subject"]["lead"]')" = "9 False [256]" ]; ok $? "and what led the prompt"
[ "$(field '["logprobs"].__len__()')" = 12 ] && [ "$(field '["timing"]["prompt_tokens_per_second"] > 0')" = True ]; ok $? "and ln p of each, and speeds"
field '["ids"]' >greedy
try generate --model model --prompt "The tide" --max-tokens 12 --json --batch 5; field '["ids"]' | cmp -s - greedy; ok $? "the same with more sequences"
try generate --model model --prompt "The tide" --max-tokens 12 --json --cache bf16
[ $code -eq 0 ] && [ "$(field '["subject"]["cache"]')" = bf16 ]; ok $? "a cache of bf16"
draw() { try generate --model model --prompt a --max-tokens 30 --json --temperature 1.5 "$@"; field '["ids"]'; }
a=$(draw --seed 3) b=$(draw --seed 3) c=$(draw --seed 4)
[ "$a" = "$b" ] && [ "$a" != "$c" ]; ok $? "a seed is what it draws"
[ "$(draw --top-k 1)" = "$(draw --temperature 0)" ]; ok $? "of the likeliest alone it draws that"
[ "$(draw --top-p 0)" = "$(draw --temperature 0)" ]; ok $? "and so with top-p 0"

# where it ends
stop=$(draw --seed 3 >/dev/null; python3 -c 'import json; print(next(c for c in json.load(open("out"))["text"][5:] if c.isalnum()))')
draw --seed 3 --stop "$stop" --stop nothing >/dev/null
[ "$(field '["finish"]')" = stop ] && ! field '["text"]' | grep -qF "$stop"; ok $? "ends before a stop string"
try generate --model model --prompt a --max-tokens 100K --length 64 --json
[ "$(field '["ids"].__len__() + x["prompt_tokens"] - 1')" = 64 ]; ok $? "ends where the length does"

# what leads a prompt
try generate --model model --prompt a --max-tokens 1 --json --bos off
[ "$(field '["prompt_tokens"]') $(field '["subject"]["lead"]')" = "1 []" ]; ok $? "--bos off"
try generate --model model --prompt a --max-tokens 1 --json --bos off --anchor on
[ "$(field '["prompt_tokens"]') $(field '["subject"]["anchor"]') $(field '["subject"]["lead"]')" = "2 True [256]" ]; ok $? "--anchor on"
numbered 20 >a.jsonl
cat >run.yaml <<'YAML'
model: {init: {arch: llama, preset: tiny, seed: 3}}
tokenizer: bytes
data: {train: a.jsonl}
window: 256
mask: anchor
batch: {windows: 1}
steps: 2
save: {every: 2}
export: {every: 1}
output: run
YAML
"$kedge" train run.yaml >out 2>err; ok $? "a run with anchors"
for folder in run/step-2 run/export/step-1 run/export/step-2/; do
    try generate --model $folder --prompt a --max-tokens 1 --json
    [ $code -eq 0 ] && [ "$(field '["subject"]["anchor"]')" = True ]; ok $? "$folder knows of its anchor"
done
try generate --model run/step-2 --prompt a --max-tokens 1 --json --anchor off
[ "$(field '["subject"]["anchor"]')" = False ]; ok $? "which --anchor off takes away"
a=$(field '["subject"]["model_hash"]'); try generate --model run/export/step-1 --prompt a --max-tokens 1 --json
[ "$a" != "$(field '["subject"]["model_hash"]')" ]; ok $? "checkpoints have hashes of their own"

# refused
try generate --prompt a;                                     says 2 "generate: which model? --model DIR"
try generate --model nowhere --prompt a;                     says 1 "nowhere"
try generate --model model --prompt a --file b;              says 2 "--prompt or --file, not both"
try generate --model model --prompt a --anchor yes;          says 2 "--anchor yes: it is auto, on or off"
try generate --model model --prompt a --cache f16;           says 2 "--cache f16: it is f32 or bf16"
try generate --model model --prompt a --temperature hot;     says 2 "--temperature hot: not a number"
try generate --model model --prompt a --temperature -1;      says 2 "--temperature and --top-k are 0 or more"
try generate --model model --prompt a --top-p 2;             says 2 "--top-p is 0 to 1"
try generate --model model --prompt a --stop "";             says 2 '--stop ""'
try generate --model model --prompt a --max-tokens 0;        says 2 "--max-tokens 0: 1 or more"
try generate --model model --prompt a --length -1;           says 2 "--length -1: 0 or more"
try generate --model model --prompt a --batch 1000;          says 2 "1 to 256 sequences"
try generate --model model --prompt "" --bos off;            says 2 "the prompt is empty"
try generate --model model --prompt "a b c d e f" --length 5;  says 2 "a prompt of 12 tokens: the length is 5"
try generate --model model --prompt a --tokenizer nowhere;   says 2 "nowhere: neither \`bytes\` nor a folder"
try generate --model "$golden/llama-plain" --prompt a;       says 2 "has no tokenizer.json: name one with --tokenizer"
try generate --model model --prompt a --tokn x;              says 2 "unknown option --tokn"
"$kedge" generate --model model --prompt a >/dev/full 2>err; code=$?
says 1 "standard output"
echo done
