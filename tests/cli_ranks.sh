#!/bin/bash
# Several ranks started by MPI's launcher: the same bits on any number of them, refusals. Usage: tests/cli_ranks.sh build/gcc-openmpi
build=$(realpath "$1")
source_of=$PWD
. tests/command.sh
. "$source_of/tests/ranks.sh"

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

if [ ${#mpi[@]} -eq 0 ]; then
    echo "skipped: ranks by MPI: a build without it"
    echo done
    exit
fi
try train run.yaml --set parallel.sequence=2
says 2 "sequence 2 times data 1 are 2 ranks, this job has 1"

for size in 1 2 4 8; do
    KEDGE_RANKS_TEST=1 timeout 120 "${mpi[@]}" -n $size "$build/tests/test_comm" >out 2>&1
    ok $? "communicators of $size processes"
done

try train run.yaml
whole=$(sum runs/one/step-10)
[ $code -eq 0 ] && [ "$(losses runs/one | grep -c .)" -eq 16 ]; ok $? "a run on one rank"
for layout in "2 1 1" "1 2 1" "2 2 1" "4 1 1" "1 4 1" "4 2 1" "2 1 2" "1 4 2" "4 2 2" "2 1 3" "1 2 3" "2 2 3" "4 2 3"; do
    read -r s d z <<<"$layout"
    ranks mpi $((s * d)) train run.yaml --set parallel.sequence=$s --set parallel.data=$d --set parallel.zero=$z --set output=runs/$s-$d-$z
    [ $code -eq 0 ] && same runs/$s-$d-$z; ok $? "$s ranks a window times $d, zero $z: the same losses, weights and moments"
    # Beside what a step's row counts: what its end and the next begin with, 16 bytes to each rank.
    planned=$("$kedge" plan run.yaml --no-time --json --set parallel.sequence=$s --set parallel.data=$d --set parallel.zero=$z | awk '/"(inside|between)"/ {n += $2} END {print n}')
    [ "$(grep -o '"sent":[0-9]*' runs/$s-$d-$z/metrics.jsonl | tail -1)" = "\"sent\":$((planned - 16 * (s * d - 1)))" ]
    ok $? "$s ranks a window times $d, zero $z: kedge plan's bytes"
done
ranks mpi 2 train run.yaml --set parallel.sequence=2 --set recompute=none --set batch.micro=3 --set threads=2 --set output=runs/kept
[ $code -eq 0 ] && [ "$(sum runs/kept/step-10)" = "$whole" ]; ok $? "the same with everything kept, three windows at once, two threads"

# near FILE1 FILE2: losses that differ by less than a thousandth
near() { paste <(losses "$1") <(losses "$2") | awk '{ d = $1 - $2; if (d < 0) d = -d; if (!($2 > 0) || d > 1e-3 * $2) bad = 1 } END { exit bad || !NR }'; }
for how in "allgather 2" "allgather 8" "zigzag 4" "zigzag 8" "zigzag-bf16 4"; do
    read -r mode size <<<"$how"
    ranks mpi $size train run.yaml --set parallel.sequence=$size --set parallel.mode=$mode --set output=runs/$mode-$size
    [ $code -eq 0 ] && near runs/$mode-$size runs/one; ok $? "$mode on $size ranks: nearly the losses of one rank"
done
for size in 2 8; do
    [ "$(losses runs/allgather-$size | head -3)" = "$(losses runs/one | head -3)" ]; ok $? "allgather on $size ranks: the very same up to the first step"
done
ranks mpi 2 train run.yaml --set parallel.sequence=2 --set parallel.mode=zigzag --set steps=11 --set output=runs/kept --resume
[ $code -eq 0 ] && grep -q "made with sums one rank's, going on with zigzag on 2 ranks: the bits may differ" err; ok $? "going on in another mode is a warning"
ranks mpi 8 train run.yaml --set parallel.sequence=8 --set output=runs/odd
says 2 "parallel: 4 heads are not shared by 8 ranks, allgather does it" 20

# The files of a checkpoint in shards are the same, whoever writes them.
try train run.yaml --set steps=5 --set save.shard=200K --set output=runs/cut
ranks mpi 4 train run.yaml --set parallel.sequence=2 --set parallel.data=2 --set parallel.zero=3 --set steps=5 --set save.shard=200K \
    --set offload.state=swap --set offload.activations=swap --set output=runs/change
(cd runs/cut/step-5 && [ -e optimizer-00005-of-00005.safetensors ] && sha256sum ./*.safetensors*) >files
[ $code -eq 0 ] && (cd runs/change/step-5 && sha256sum --quiet -c) <files; ok $? "five steps on four ranks, which all write: the same files"
ranks mpi 2 train run.yaml --set parallel.data=2 --set parallel.zero=2 --set output=runs/change --resume
[ $code -eq 0 ] && [ "$(sum runs/change/step-10)" = "$whole" ]; ok $? "resumed on two other ranks: the same weights and moments"

ranks mpi 2 train run.yaml --set parallel.data=2 --set output=runs/places --log-ranks
[ "$(grep -Eo 'rank . of 2, . of 2 on its host, joined by MPI' err | sort | tr '\n' ' ')" = "rank 0 of 2, 0 of 2 on its host, joined by MPI rank 1 of 2, 1 of 2 on its host, joined by MPI " ]
ok $? "--log-ranks says each rank's place on its host"
ranks mpi 2 train run.yaml --set parallel.sequence=2 --set output=runs/one
says 2 "runs/one holds a run already" 20
ranks mpi 2 train run.yaml --set parallel.data=2 --set batch.windows=3 --set output=runs/odd
says 2 "batch.windows: 3 are not shared by 2 data ranks" 20
ranks mpi 3 train run.yaml --set parallel.sequence=3 --set output=runs/odd
says 2 "parallel: ranks are powers of two" 20
WORLD_SIZE=2 ranks mpi 2 train run.yaml --set parallel.data=2 --set output=runs/left
[ $code -eq 0 ] && same runs/left; ok $? "a variable that is left from elsewhere does not matter"
[ ! -e runs/odd ]; ok $? "what never began left nothing"
echo done
