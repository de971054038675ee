#!/bin/bash
# What the command says to somebody who is new to it: help, and errors that say what to do. Usage: tests/cli_help.sh build/gcc
. tests/command.sh

# says CODE "text": the last command ended with CODE; its stderr is one line that has text, its stdout is empty
says() { [ "$code" -eq "$1" ] && grep -qF -- "$2" err && [ "$(grep -c . err)" -eq 1 ] && [ ! -s out ]; ok $? "exit $1: $2"; }

# Help.
try --help
cp out help
[ $code -eq 0 ] && grep -q '^exit codes:$' help && grep -q 'KEDGE_ISA' help; ok $? "help has exit codes and environment"
try help; cmp out help >err; ok $? "kedge help is kedge --help"
try; [ $code -eq 2 ] && [ ! -s out ] && grep -q '^  train  ' err; ok $? "kedge alone lists the commands"
commands=$(awk '/^more:$/ { exit } /^  [a-z]/ { print $1 }' help)
[ "$(wc -w <<<"$commands")" -ge 5 ]; ok $? "commands are found in it"
for command in $commands "bench attention" "bench gemm" "bench step" "bench rope" "bench ranks" "eval hellaswag" "eval mmlu" "eval longbench" "eval ppl" "eval ruler" "eval retention" "check mask" "check rope" "check model"; do
    try $command --help; cp out help
    [ $code -eq 0 ] && try help $command && cmp out help >err; ok $? "kedge $command --help is kedge help $command"
    awk 'length > 100' help >err
    grep -n ' $' help >>err
    grep -q "^usage: kedge $command" help || echo "no usage" >>err
    grep -qE '^(examples|what):$' help || echo "no examples" >>err
    awk '/^[a-z]+:$/ { s = $1 } s == "options:" && /^  --[a-z-]+( [^ ]+)?$/ { getline; if ($0 !~ /^      /) print }' help >>err
    [ ! -s err ]; ok $? "kedge $command --help: usage, examples, 100 columns at most"
done
try bench attention --tokens 64 --help
grep -q 'default 4K' out; ok $? "defaults are shown, whatever else is on the line"

# The same for programs: every command, option and key once more.
if command -v python3 >/dev/null; then
    try help --json
    python3 -c 'import json, sys
says = json.load(open("out"))
commands = [command for group in says["commands"] for command in group["commands"]]
assert [command["name"] for command in commands] == sys.argv[1].split(), commands
options = {command["name"]: {option["name"]: option for option in command["help"].get("options", [])} for command in commands}
assert options["train"]["--resume"]["kind"] == "flag" and options["init"]["--window"]["default"] == "64K", options
assert {what["name"] for command in commands if command["name"] == "eval" for what in command["help"]["what"]} >= {"ruler", "ppl"}
keys = {key["key"]: key for group in says["run_file"] for key in group["keys"]}
assert keys["mask"]["words"] == ["full", "document", "anchor"] and keys["window"]["required"] and keys["optim.lr"]["default"] == "2e-5", keys
assert "75" in says["exit_codes"] and "KEDGE_ISA" in says["environment"]' "$(tr '\n' ' ' <<<"$commands")" 2>err
    ok $? "kedge help --json has what help has"
    [ "$("$kedge" help eval ppl --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["usage"])')" = "--model DIR --text FILE [options]" ]
    ok $? "so has kedge help COMMAND --json"
else
    echo "skipped: kedge help --json: python3 is not installed"
fi

# The run file that help shows is one.
try help run-file
awk 'length > 100' out >err
[ $code -eq 0 ] && [ ! -s err ]; ok $? "kedge help run-file"
: >err
for key in mask window optim.lr data.train output; do grep -qE "^  $key  " out || echo "$key is not there" >err; done
[ ! -s err ]; ok $? "it names the keys"
mkdir -p corpus/train
for i in $(seq 1 30); do printf '{"text": "document %d: %s"}\n' "$i" "$(seq -s ' ' "$i" $((i * 7)))"; done >corpus/train/a.jsonl
sed -n '/^keys:/q; s/^    //p' out >run.yaml
sed -i 's/16K/512/; s/^steps.*/steps: 1/; s/\*\.jsonl\.zst/*.jsonl/; s/validation/train/' run.yaml
"$kedge" init models/small --preset tiny 2>err
try train run.yaml --quiet
[ $code -eq 0 ] && [ -e runs/anchor-16k/step-1/model.safetensors ]; ok $? "the run file in the help trains"

# Errors say what to do.
try train;                                          says 2 'kedge train RUN.yaml'
try train nothing.yaml;                             says 1 'nothing.yaml: no such run file; kedge help run-file shows one'
try train run.yaml more;                            says 2 '"more" is one argument too many; usage: kedge train RUN.yaml'
try train run.yaml --set;                           says 2 '--set needs a.b=c'
sed '/^output/d; /^window/d' run.yaml >short.yaml
try train short.yaml;                               says 2 'missing: window, output (kedge help run-file'
try train run.yaml --set output=x --set model.path=meta/llama;     says 1 'meta/llama: no such folder: a model is a Hugging Face folder on this machine'
try train run.yaml --set output=x --set model.path=corpus;         says 1 'corpus: no config.json in it'
try train run.yaml --set output=x --set 'data.train=none/*.jsonl'; says 1 'data.train: none/*.jsonl: no file matches'
try train run.yaml --set output=x --set 'data.valid=gone.jsonl';   says 1 'data.valid: gone.jsonl'
try train run.yaml --set output=x --set window=1M;  says 2 'tokens in all: not one window of 1048576; name more files or a smaller window'
try train run.yaml;                                 says 2 'runs/anchor-16k holds a run already: --resume goes on with it, or name another output'
sed -i 's/"vocab_size": 259/"vocab_size": 258/' models/small/config.json
try train run.yaml --set output=x;                  says 2 "259 ids, the model's vocabulary 258: a model with a larger vocabulary is needed"
try init;                                           says 2 'kedge init DIR --preset NAME'
try init other;                                     says 2 'kedge init other --preset 10m'
try init models/small --preset tiny;                says 2 'models/small holds a model already: name another folder'
try init other --preset tiny --seed x;              says 2 '--seed x: not a whole number'
try init other --preset tiny --vocabulary 7;        says 2 '--vocabulary 7: the tokenizer bytes has 259 ids'
try info runs/anchor-16k;                           says 2 'kedge info runs/anchor-16k/step-N'
try info run.yaml;                                  says 2 "a folder of a model, checkpoint or pack, or a .safetensors file is needed"
try info --jsn;                                     says 2 'did you mean --json?'
try frobnicate;                                     says 2 'kedge --help lists them'
try help trian;                                     says 2 'did you mean train?'
try bench attention --groups 3;                     says 2 '--groups divides --heads'
try bench attention --variant nix;                  says 2 "none of that name"
try bench gemm --variant nix;                       says 2 "none of that name"
try bench attention --storage half;                 says 2 'it is f32, bf16 or f16'
KEDGE_ISA=sse try info;                             says 2 'one of ref, avx2, avx512'
echo done
