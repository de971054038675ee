#!/bin/bash
# Several ranks as a user starts them: the same bits on any number of them, faults, refusals. Usage: tests/cli_ranks.sh build/gcc-openmpi
build=$(realpath "$1")
. tests/command.sh
numbered 60 >a.jsonl
cat >run.yaml <<'YAML'
model: {init: {arch: qwen2, preset: tiny, seed: 1}}
tokenizer: bytes
data: {train: [a.jsonl], valid: [a.jsonl]}
window: 512
mask: anchor
batch: {windows: 4, micro: 1}
optim: {lr: 4e-3}
steps: 6
save: {every: 3, keep: 2}
eval: {every: 3, windows: 2}
parallel: {deadline: 60}
output: runs/one
YAML

# differences MODE: "mask activations difference" of each line
differences() { sed -n "s/.*\"mask\": \"\([a-z]*\)\", \"activations\": \"\([a-z0-9]*\)\", \"mode\": \"$1\", \"difference\": \([^,]*\),.*/\1 \2 \3/p" out; }
try bench ranks --ranks 4 --window 256 --layers 1 --vocabulary 300 --json
zero=$'full f32 0\nfull bf16 0\nanchor f32 0\nanchor bf16 0'
[ $code -eq 0 ] && [ "$(differences ulysses)" = "$zero" ] && [ "$(differences allgather)" = "$zero" ]
ok $? "logits of four ranks are those of one, by heads and by queries"
differences zigzag >exact; differences zigzag-bf16 >rounded
paste exact rounded | awk '$2 == "f32" && !($3 > 0 && $3 < 1e-4 && $6 > 20 * $3 && $6 < 0.2) { bad = 1 }
    $2 == "bf16" && !($3 > 1e-3 && $3 < 0.2 && $6 > 1e-3 && $6 < 0.3) { bad = 1 } END { exit bad || NR != 4 }'
ok $? "on a ring they are off by rounding, and by more where parts or activations are bf16"
try bench ranks --mode zigzg
says 2 "bench ranks: --mode zigzg: it is ulysses, allgather, zigzag or zigzag-bf16"
try bench ranks --ranks 3
says 2 "bench ranks: --ranks 3: a power of two, 2 to 64"

try train run.yaml --set parallel.sequence=2
case $build in
*-openmpi) run=(mpirun.openmpi --oversubscribe) ;;
*-mpich) run=(mpirun.mpich) ;;
*)
    says 1 "this build has no MPI: make MPI=1"
    OMPI_COMM_WORLD_SIZE=2 try train run.yaml
    says 1 "OMPI_COMM_WORLD_SIZE says 2 processes: this build has no MPI"
    echo "skipped: several ranks: a build without MPI"
    echo done
    exit
    ;;
esac
says 2 "sequence 2 times data 1 are 2 ranks, this job has 1"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_hwloc_base_binding_policy=none
# ranks N arguments: N processes
ranks() { local n=$1; shift; timeout 120 "${run[@]}" -n "$n" "$kedge" "$@" >out 2>err; code=$?; }

for size in 1 2 4 8; do
    KEDGE_MPI_TEST=1 timeout 120 "${run[@]}" -n $size "$build/tests/test_comm" >out 2>&1
    ok $? "communicators of $size processes"
done

try train run.yaml
whole=$(sum runs/one/step-6)
losses() { grep -o '"loss":[^,]*' "$1/metrics.jsonl" | cut -d: -f2; }
[ $code -eq 0 ] && [ "$(losses runs/one | grep -c .)" -eq 12 ]; ok $? "a run on one rank"
for layout in "2 1" "1 2" "2 2" "4 1" "1 4" "4 2"; do
    read -r s d <<<"$layout"
    ranks $((s * d)) train run.yaml --set parallel.sequence=$s --set parallel.data=$d --set output=runs/$s-$d
    [ $code -eq 0 ] && [ "$(sum runs/$s-$d/step-6)" = "$whole" ] && [ "$(losses runs/$s-$d)" = "$(losses runs/one)" ]
    ok $? "$s ranks a window times $d: the same losses, weights and moments"
    # Beside what a step's row counts: what its end and the next begin with, 16 bytes to each rank.
    planned=$("$kedge" plan run.yaml --no-time --json --set parallel.sequence=$s --set parallel.data=$d | awk '/"(inside|between)"/ {n += $2} END {print n}')
    [ "$(grep -o '"sent":[0-9]*' runs/$s-$d/metrics.jsonl | tail -1)" = "\"sent\":$((planned - 16 * (s * d - 1)))" ]
    ok $? "$s ranks a window times $d: kedge plan's bytes"
done
ranks 2 train run.yaml --set parallel.sequence=2 --set recompute=none --set batch.micro=3 --set threads=2 --set output=runs/kept
[ $code -eq 0 ] && [ "$(sum runs/kept/step-6)" = "$whole" ]; ok $? "the same with everything kept, three windows at once, two threads"

# near FILE1 FILE2: losses that differ by less than a thousandth
near() { paste <(losses "$1") <(losses "$2") | awk '{ d = $1 - $2; if (d < 0) d = -d; if (!($2 > 0) || d > 1e-3 * $2) bad = 1 } END { exit bad || !NR }'; }
for how in "allgather 2" "allgather 8" "zigzag 4" "zigzag 8" "zigzag-bf16 4"; do
    read -r mode size <<<"$how"
    ranks $size train run.yaml --set parallel.sequence=$size --set parallel.mode=$mode --set output=runs/$mode-$size
    [ $code -eq 0 ] && near runs/$mode-$size runs/one; ok $? "$mode on $size ranks: nearly the losses of one rank"
done
for size in 2 8; do
    [ "$(losses runs/allgather-$size | head -3)" = "$(losses runs/one | head -3)" ]; ok $? "allgather on $size ranks: the very same up to the first step"
done
ranks 8 train run.yaml --set parallel.sequence=8 --set output=runs/odd
says 1 "8 ranks do not fit 4 heads; mode allgather has no such limit" 20

ranks 4 train run.yaml --set parallel.sequence=4 --set steps=3 --set output=runs/change
ok $code "three steps on four ranks"
ranks 2 train run.yaml --set parallel.data=2 --set output=runs/change --resume
[ $code -eq 0 ] && [ "$(sum runs/change/step-6)" = "$whole" ]; ok $? "resumed on two other ranks: the same weights and moments"

ranks 2 train run.yaml --set parallel.sequence=2 --set output=runs/one
says 2 "runs/one holds a run already" 20
ranks 2 train run.yaml --set parallel.data=2 --set batch.windows=3 --set output=runs/odd
says 2 "batch.windows: 3 are not shared by 2 data ranks" 20
ranks 3 train run.yaml --set parallel.sequence=3 --set output=runs/odd
says 1 "3 ranks do not" 20
SLURM_NTASKS=4 try train run.yaml --set output=runs/odd
says 2 "SLURM_NTASKS says 4 processes, but this one is alone"
[ ! -e runs/odd ]; ok $? "what never began left nothing"

# long NAME DEADLINE: a run that goes on for minutes, in the background, once it has saved.
long() {
    timeout 120 "${run[@]}" -n 4 "$kedge" train run.yaml --set parallel.sequence=2 --set parallel.data=2 --set parallel.deadline=$2 \
        --set steps=100000 --set save.every=5 --set eval.every=0 --set output=runs/$1 >out 2>err &
    for i in $(seq 100); do [ -e runs/$1/step-5 ] || [ -e runs/$1/step-10 ] && break; sleep 0.1; done
}
# rank_of N: the process of rank N
rank_of() { grep -lzE "^(OMPI_COMM_WORLD_RANK|PMI_RANK)=$1\$" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 | while read -r p; do
    [ "$(readlink /proc/"$p"/exe)" = "$(realpath "$kedge")" ] && echo "$p"; done | head -1; }

long stopped 2
job=$! stopped=$(rank_of 3)
kill -STOP "$stopped"; start=$SECONDS
for i in $(seq 200); do grep -q 'gives up' err && break; sleep 0.1; done
took=$((SECONDS - start))
sleep 1; kill -KILL "$stopped" 2>/dev/null  # a launcher may wait for it for ever
wait $job; code=$?
[ $code -eq 75 ] || [ $code -eq 137 ]; ok $? "a rank that is stopped: exit 75, or the launcher's of a killed one"
grep -Eq 'nothing from rank|not all was taken' err; ok $? "a rank that is stopped: the others name the move and the rank"
[ $took -lt 15 ]; ok $? "within the deadline and some seconds"
long killed 30
kill -KILL "$(rank_of 2)"; start=$SECONDS; wait $!; code=$?
[ $code -ne 0 ] && [ $((SECONDS - start)) -lt 30 ]; ok $? "a rank that is killed ends the job"
last=$(ls runs/killed | grep -oE '^step-[0-9]+$' | sort -V | tail -1)
next=$((${last#step-} + 1))
ranks 2 train run.yaml --set parallel.sequence=2 --set steps=$next --set output=runs/killed --resume
try train run.yaml --set steps=$next --set output=runs/again
[ "$(sum runs/killed/step-$next)" = "$(sum runs/again/step-$next)" ]; ok $? "it goes on from its last checkpoint, on other ranks, bit for bit"
long asked 60
kill -USR1 "$(rank_of 1)"; wait $!; code=$?
says 75 "and saved: --resume goes on" 60
echo done
