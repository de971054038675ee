#!/bin/bash
# The command when things fail: killed, stopped, out of disk, damaged. Usage: tests/cli_faults.sh build/gcc
# One line a fact, "ok N" or "not ok N"; "done" at the end. Moments are random: KEDGE_SEED=N repeats them.
# KEDGE_FAULTS=all takes every call of a save through the command instead of a sample.
shim=$(realpath "$1/tests/fault_shim.so" 2>/dev/null)
home=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")  # thousands of syncs
disk=$(mktemp -d)  # a real one, where saves take their time
. tests/command.sh
trap 'rm -rf "$home" "$disk"' EXIT
seed=${KEDGE_SEED:-$RANDOM}
RANDOM=$seed
case "$kedge" in *-address*/kedge | *-thread*/kedge) plain=0 ;; *) plain=1 ;; esac

# says CODE "text": the last command ended with CODE and a line of its stderr has text
says() { [ "$code" -eq "$1" ] && grep -qF -- "$2" err; ok $? "exit $1: $2"; }
same() { [ "$(sum "$1" 2>/dev/null)" = "$whole" ]; }
# wait_step FOLDER N: until metrics.jsonl has step N
wait_step() { for _ in $(seq 500); do grep -qs "\"step\":$2[,}]" "$1/metrics.jsonl" && return; sleep 0.02; done; }
leftovers() { find "$1" -name '*.tmp' -o -name '*.del' | grep -q .; }

mkdir data
for i in $(seq 1 40); do
    printf '{"text": "document %d: %s", "meta": {"redpajama_set_name": "RedPajama%s"}}\n' "$i" \
        "$(seq -s ' ' "$i" $((i * 7)))" "$([ $((i % 2)) = 0 ] && echo Wikipedia || echo C4)"
done >data/a.jsonl
cat >run.yaml <<'YAML'
model:
  init: {arch: llama, preset: tiny, seed: 3}
tokenizer: bytes
data:
  train: [data/a.jsonl]
  valid: [data/a.jsonl]
window: 256
batch: {windows: 2, micro: 1}
threads: 1
optim: {lr: 1e-3, warmup: 2}
steps: 8
save: {every: 1, keep: 2}
eval: {every: 4, windows: 1}
output: runs/a
YAML
start=$(date +%s%N)
try train run.yaml
took=$((($(date +%s%N) - start) / 1000000))
ok $code "a run that nothing disturbs, $took ms"
whole=$(sum runs/a/step-8)

# ---- killed ----
bad=0 during=0 kills=$([ $plain = 1 ] && echo 20 || echo 3)  # a sanitizer's runs are slow, and no different in this
for round in $(seq $kills); do
    rm -rf "$disk/kill"
    "$kedge" train run.yaml --quiet --set output="$disk/kill" >out 2>err & pid=$!
    at=$((RANDOM % (took * 11 / 10)))
    sleep "$(printf '%d.%03d' $((at / 1000)) $((at % 1000)))"
    kill -9 $pid 2>/dev/null; wait $pid 2>/dev/null
    leftovers "$disk/kill" 2>/dev/null && during=$((during + 1))
    try train run.yaml --quiet --set output="$disk/kill" --resume
    { [ $code -eq 0 ] && same "$disk/kill"/step-8 && ! leftovers "$disk/kill"; } || { bad=$((bad + 1)); echo "round $round, killed after $at ms: exit $code"; cat err; }
done
ok $bad "$kills kills at random moments (KEDGE_SEED=$seed; $during within a save), resumed: the same bits"

# ---- stopped ----
# stopped CODE SIGNAL: one signal in the midst of a long run, then --resume
stopped() {
    rm -rf runs/stop
    "$kedge" train run.yaml --quiet --set steps=1000000 --set output=runs/stop >out 2>err & pid=$!
    wait_step runs/stop 1
    kill -"$2" $pid; wait $pid; code=$?
    says "$1" "and saved: --resume goes on"
    local last; last=$(ls runs/stop | sed -n 's/^step-//p' | sort -n | tail -1)
    try train run.yaml --set output=runs/stop --resume --set steps=$((last + 2))
    rm -rf runs/straight
    "$kedge" train run.yaml --quiet --set output=runs/straight --set steps=$((last + 2)) 2>/dev/null
    [ $code -eq 0 ] && [ "$(sum runs/stop/step-$((last + 2)))" = "$(sum runs/straight/step-$((last + 2)))" ]
    ok $? "resumed after SIG$2: the same bits"
}
stopped 75 TERM
stopped 75 USR1
"$kedge" train run.yaml --quiet --set steps=1000000 --set save.every=0 --set output=runs/int >out 2>err & pid=$!
wait_step runs/int 1; kill -INT $pid; wait $pid; code=$?
# A shell without job control lets its background jobs ignore SIGINT: the run takes it all the same.
says 130 "and saved: --resume goes on"
timeout -s TERM 0.7 "$kedge" train run.yaml --quiet --set steps=1000000 --set output=runs/timeout >out 2>err; code=$?
[ $code -eq 124 ] && grep -q 'and saved' err; ok $? "timeout(1) sends its signal twice: the run is saved"
# One step of this takes many seconds, so the second signal meets it.
"$kedge" train run.yaml --quiet --set batch.windows=10000 --set output=runs/second >out 2>err & pid=$!
for _ in $(seq 200); do [ -e runs/second/run.yaml ] && break; sleep 0.05; done
kill -TERM $pid; sleep 0.2; kill -TERM $pid; sleep 1; kill -0 $pid; alive=$?
kill -TERM $pid; wait $pid; code=$?
[ $alive -eq 0 ] && [ $code -eq 143 ]; ok $? "a second signal within a second is the same request, a later one ends the run at once ($code)"

# ---- two runs, one folder ----
"$kedge" train run.yaml --quiet --set steps=1000000 --set output=runs/two >out 2>err & pid=$!
wait_step runs/two 1
try train run.yaml --set output=runs/two;              says 1 "in use by another run"
grep -q "held by process $pid" err; ok $? "and by which"
try train run.yaml --set output=runs/two --resume;     says 1 "in use by another run"
kill -9 $pid; wait $pid 2>/dev/null
try train run.yaml --set output=runs/a;                says 2 'holds a run already'
mkdir -p runs/lock; exec 9>runs/lock/.lock; flock 9
try train run.yaml --set output=runs/lock;             says 1 'in use by another run'
exec 9>&-

# ---- damage ----
cp -r runs/a runs/flip
printf 'x' | dd of=runs/flip/step-8/model.safetensors bs=1 seek=5000 conv=notrunc 2>/dev/null
try train run.yaml --set output=runs/flip --resume
[ $code -eq 0 ] && grep -q 'step-8 is not used: .*model.safetensors: its hash' err && same runs/flip/step-8
ok $? "a flipped byte is found by name, the checkpoint before it is used"
printf ' ' >>runs/flip/step-8/manifest.json
try train run.yaml --set output=runs/flip --resume
[ $code -eq 0 ] && grep -q 'step-8 is not used: .*manifest.json' err && same runs/flip/step-8
ok $? "a byte behind the manifest is found too"
for step in runs/flip/step-*; do printf 'x' | dd of="$step/model.safetensors" bs=1 seek=6000 conv=notrunc 2>/dev/null; done
try train run.yaml --set output=runs/flip --resume;    says 1 'none of its'
[ "$(ls runs/flip | grep -c '^step-')" -eq 2 ]; ok $? "and none is touched"
try info runs/flip/step-8
grep -q 'checkpoint.*model.safetensors: its hash' out; ok $? "info says what is wrong with a checkpoint"
zstd -q data/a.jsonl -o whole.zst
bad=0
for round in $(seq 12); do
    cp whole.zst data/b.jsonl.zst
    at=$((RANDOM % $(stat -c %s whole.zst)))
    byte=$(dd if=whole.zst bs=1 skip=$at count=1 2>/dev/null | od -An -tu1)
    printf "\\x$(printf %x $((byte ^ 1 << RANDOM % 8)))" | dd of=data/b.jsonl.zst bs=1 seek=$at conv=notrunc 2>/dev/null
    # Some bits change nothing that is read: a window larger than the frame needs.
    zstd -dcq data/b.jsonl.zst 2>/dev/null | cmp -s - data/a.jsonl && continue
    try train run.yaml --set data.train=data/b.jsonl.zst --set output=runs/x
    { [ $code -eq 1 ] && grep -q 'data/b.jsonl.zst: byte [0-9]' err; } || { bad=$((bad + 1)); echo "byte $at: exit $code"; cat err; }
done
ok $bad "a flipped bit in a corpus names file and byte"
rm data/b.jsonl.zst

# ---- exports ----
sed 's/^output:.*/export: {every: 2, last: 3, dtype: bf16, shard: 64K}\n&/' run.yaml >export.yaml
try train export.yaml --set output=runs/export
[ "$(ls runs/export/export | tr '\n' ' ')" = "step-4 step-6 step-8 " ] && same runs/export/step-8; ok $? "export: every 2, last 3 of 8 steps: 4, 6 and 8; the run's bits do not change"
"$kedge" export runs/export/step-8 plain --dtype bf16 --shard-size 64K 2>/dev/null
bad=0; for file in plain/*; do cmp -s "$file" "runs/export/export/step-8/${file#*/}" || bad=1; done
[ $bad -eq 0 ] && [ "$(ls plain | grep -c safetensors$)" -gt 1 ] && ! ls runs/export/export/step-8 | grep -Eq 'optimizer|trainer'
ok $? "an export is what kedge export makes of the checkpoint"
"$kedge" info runs/export/export/step-6 | grep -q 'export *complete'; ok $? "info verifies an export"
try train export.yaml --set output=runs/odd --set steps=5 --set export.last=0
[ "$(ls runs/odd/export | tr '\n' ' ')" = "step-1 step-3 step-5 " ]; ok $? "counted back from the last step"
# Steps 7 and 8 are done again: what is whole stays, what is damaged is made again, what was added is kept.
rm -rf runs/export/step-[78]; printf x >>runs/export/export/step-8/config.json;
echo mine >runs/export/export/step-6/README.md; before=$(stat -c %i runs/export/export/step-6)
"$kedge" train run.yaml --quiet --set output=runs/back --set steps=5 2>err && cp -r runs/back/step-5 runs/export/ && rm -rf runs/export/step-6
try train export.yaml --set output=runs/export --resume
[ $code -eq 0 ] && [ -e runs/export/export/step-6/README.md ] && [ "$before" = "$(stat -c %i runs/export/export/step-6)" ] && "$kedge" info runs/export/export/step-8 | grep -q 'export *complete'
ok $? "resumed before an export: a whole one is left, a damaged one is made again"
mkdir runs/noexport; touch runs/noexport/export
try train export.yaml --set output=runs/noexport
says 1 '3 exports could not be written, the first at step 4'
same runs/noexport/step-8; ok $? "but everything is saved"

# ---- numbers ----
try train run.yaml --set optim.lr=1e30 --set optim.clip=0 --set output=runs/nan
[ $code -eq 1 ] && grep -q '3 times in a row' err && ls runs/nan | grep -q step-
ok $? "three steps that are not finite stop the run, the last good checkpoint stays"
! leftovers runs/nan; ok $? "nothing half-made is left"

# ---- no room ----
room=$(($(du -sk runs/a/step-8 | cut -f1) * 3 / 2))
if unshare -rm true 2>/dev/null; then
    mkdir full
    unshare -rm bash -c "mount -t tmpfs -o size=${room}k none full && '$kedge' train run.yaml --set output=full/a >out 2>err; code=\$?
                         find full -name '*.tmp' >left; cp -r full/a runs/full; exit \$code"; code=$?
    says 1 "No space left on device"
    tail -1 err | grep -q "^kedge: full/a/step-8.tmp/.*safetensors: cannot write at byte [0-9]*: No space"; ok $? "the last save fails and names file and byte"
    grep -q 'step 7 could not be saved, going on: full/a/step-7.tmp/' err; ok $? "an earlier one is a warning"
    [ ! -s left ] && "$kedge" info runs/full/step-1 | grep -q 'checkpoint *complete'; ok $? "nothing half-made is left, the old checkpoint is whole"
    try train run.yaml --set output=runs/full --resume
    [ $code -eq 0 ] && same runs/full/step-8; ok $? "where there is room again it goes on: the same bits"
else
    echo "skipped: a full disk: no tmpfs can be mounted here"
fi
(ulimit -f 300; "$kedge" train run.yaml --set output=runs/limit >out 2>err); code=$?
says 1 "File too large"
! leftovers runs/limit; ok $? "a limit on the size of files is an error as others are"
mkdir runs/log; ln -s /dev/full runs/log/metrics.jsonl
try train run.yaml --set output=runs/log --resume
[ $code -eq 0 ] && same runs/log/step-8 && [ "$(grep -c 'could not be written: No space' err)" -eq 1 ] && grep -q 'metrics.jsonl: [0-9]* lines were lost' err
ok $? "metrics that cannot be written: one warning, a count, the run goes on"

# ---- a probe ----
# probe OUT [OPTIONS]: one text of the model that the first run left, at one precision
probe() { "$kedge" probe --model "${model:-runs/a/step-8}" --text data/a.jsonl --texts 1 --length 16 --precisions bf16 --shifts 16,64 --out "$@" >out 2>err; code=$?; }
# one CODE "text" [LINES]: as says, in one line, or in two where progress came before it
one() { [ "$(grep -c . err)" -le "${3:-1}" ] && tail -1 err | grep -q '^kedge: ' || code="$code, several lines"; says "$1" "$2"; }
numbers() { cat "$1"/*.csv 2>/dev/null | cksum; }
probe probed; ok $code "a probe that nothing disturbs"
right=$(numbers probed)
touch file
probe file;             one 1 'file: file is not a folder'
probe file/below/it;    one 1 'file/below/it: file is not a folder'
probe /proc/none/it;    one 1 ': cannot ' 2
for size in 5 100 5000 -1; do
    rm -rf cut; cp -r runs/a/step-8 cut; truncate -s $size cut/model.safetensors
    model=cut probe never; one 1 'cut/model.safetensors: '
done
printf '\2\0\0\0\0\0\0\0{}' >cut/model.safetensors
model=cut probe never;  one 1 'cut: its model.safetensors has no tensors'
rm -rf cut; cp -r runs/a/step-8 cut; sed -i 's/"num_hidden_layers": *\([0-9]*\)/"num_hidden_layers": 2\1/' cut/config.json
model=cut probe never;  one 1 'is missing'
rm cut/model.safetensors
model=cut probe never;  one 1 'cut: neither model.safetensors nor'
cp runs/a/step-8/config.json cut; truncate -s -9 cut/config.json
model=cut probe never;  one 1 'cut/config.json:'
cp "$golden/dump_small.safetensors" cut.safetensors; truncate -s -9 cut.safetensors
"$kedge" probe --dump cut.safetensors --out never >out 2>err; code=$?
one 1 'cut.safetensors: '
[ ! -e never ]; ok $? "a model or a dump that is cut leaves nothing"
if [ -c /dev/full ]; then
    "$kedge" probe --dump "$golden/dump_small.safetensors" --out probed-2 >/dev/full 2>err; code=$?
    one 1 'standard output could not be written'
fi
if unshare -rm true 2>/dev/null; then
    mkdir small
    unshare -rm bash -c "mount -t tmpfs -o size=24k none small && '$kedge' probe --dump '$golden/dump_small.safetensors' --out small/a >out 2>err; code=\$?
                         find small -name '*.tmp' >left; mount -o remount,ro small && '$kedge' probe --dump '$golden/dump_small.safetensors' --out small/b >out 2>err.ro
                         echo \$? >code.ro; exit \$code"; code=$?
    one 1 'No space left on device'
    [ ! -s left ]; ok $? "nothing half-made is left of a probe either"
    mv err.ro err; code=$(cat code.ro); one 1 'small/b: cannot write into small: Read-only file system'
else
    echo "skipped: a probe's full disk: no tmpfs can be mounted here"
fi
if [ $plain -eq 1 ]; then
    FAULT_LOG=$home/calls LD_PRELOAD=$shim probe called
    cases=$(for w in nospace io; do sed -n "s|^\([0-9]*\) .*called.*|\1/$w|p" calls; done | if [ "${KEDGE_FAULTS:-}" = all ]; then cat; else shuf -n 24 --random-source=<(yes "$seed"); fi)
    bad=0 count=0
    for c in $cases; do
        count=$((count + 1))
        rm -rf called
        FAULT_CALL=${c%/*} FAULT_WAY=${c#*/} LD_PRELOAD=$shim probe called
        if [ $code -eq 0 ]; then [ "$(numbers called)" = "$right" ]; else [ $code -eq 1 ] && tail -1 err | grep -q '^kedge: .*called.*: \(No space\|Input/output\)'; fi &&
            ! leftovers called 2>/dev/null || { bad=$((bad + 1)); echo "call $c: exit $code"; cat err; }
    done
    ok $bad "a call of a probe's files fails ($count cases): one line that names the file, or it did not matter"
else
    echo "skipped: calls of a probe's files that fail: a sanitizer is in the shim's place"
fi

# ---- calls of a save, through the command ----
# calls WHAT N: a call of the N-th folder that export.yaml makes (an export, a checkpoint, ...) fails, in every way
calls() {
    local ways=(before after torn nospace io interrupted short) last cases bad=0 count=0 c right
    rm -rf runs/calls
    FAULT_SAVE=$2 FAULT_LOG=$home/calls LD_PRELOAD=$shim "$kedge" train export.yaml --quiet --set output=runs/calls >out 2>err
    last=$(grep -m1 'fsync .*/calls\(/export\)\?$' calls | cut -d' ' -f1)
    [ -n "$last" ]; ok $? "$1: $last calls that can fail"
    if [ "${KEDGE_FAULTS:-}" = all ]; then cases=$(for k in $(seq "$last"); do for w in "${ways[@]}"; do echo "$k/$w"; done; done)
    else cases=$(for w in "${ways[@]}"; do echo "$((RANDOM % last + 1))/$w"; done); fi
    for c in $cases; do
        count=$((count + 1))
        rm -rf runs/call
        FAULT_SAVE=$2 FAULT_CALL=${c%/*} FAULT_WAY=${c#*/} LD_PRELOAD=$shim "$kedge" train export.yaml --quiet --set output=runs/call >out 2>err; code=$?
        # A save that fails is made up for by the next, an export is not.
        case ${c#*/} in
            before | after | torn) [ $code -eq 137 ] ;;
            nospace | io) { [ $code -eq 0 ] || { [ "$1" = export ] && grep -q 'exports could not be written' err; }; } && ! leftovers runs/call ;;
            *) [ $code -eq 0 ] && ! leftovers runs/call ;;
        esac
        right=$?
        try train export.yaml --quiet --set output=runs/call --resume
        { [ $right -eq 0 ] && [ $code -eq 0 ] && same runs/call/step-8 && ! leftovers runs/call && "$kedge" info runs/call/export/step-8 | grep -q 'export *complete'; } ||
            { bad=$((bad + 1)); echo "call $c: exit $code"; cat err; }
    done
    ok $bad "a call fails ($count cases), resumed where it was killed: the same bits"
}
if [ $plain -eq 1 ]; then
    sed -i 's/^export:.*/export: {every: 1, dtype: bf16}/' export.yaml
    calls checkpoint 6
    calls export 5
else
    echo "skipped: calls of a save that fail: a sanitizer is in the shim's place"
fi
echo done
