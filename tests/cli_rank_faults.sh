#!/bin/bash
# What happens to a run when one of its ranks is lost, and how soon: by TCP in any build, by MPI in one that has it. docs/parallel.md
# has the table. Usage: tests/cli_rank_faults.sh build/gcc-openmpi
build=$(realpath "$1")
shim=$(realpath "$1/tests/fault_shim.so" 2>/dev/null)
source_of=$PWD
. tests/command.sh
. "$source_of/tests/ranks.sh"
unset RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT
case "$build" in *-address* | *-thread*) plain=0 ;; *) plain=1 ;; esac
ways=(tcp)
[ ${#mpi[@]} -gt 0 ] && ways+=(mpi)

try train run.yaml
ok $code "a run on one rank"
whole=$(sum runs/one/step-10)

# long WAY NAME DEADLINE: a run on 2x2 ranks that goes on for minutes, in the background, once it has saved
long() {
    started "$1" 4 train run.yaml --set parallel.sequence=2 --set parallel.data=2 --set parallel.deadline=$3 \
        --set steps=100000 --set save.every=5 --set eval.every=0 --set output=runs/$2
    for _ in $(seq 200); do [ -e runs/$2/step-5 ] || [ -e runs/$2/step-10 ] && break; sleep 0.05; done
}
# goes_on NAME: the run goes on from its last checkpoint, on other ranks, to the bits of one that nothing has disturbed
goes_on() {
    local last next
    last=$(ls "runs/$1" | grep -oE '^step-[0-9]+$' | sort -V | tail -1)
    next=$((${last#step-} + 1))
    ranks tcp 2 train run.yaml --set parallel.sequence=2 --set steps=$next --set output="runs/$1" --resume
    rm -rf runs/straight
    try train run.yaml --set steps=$next --set output=runs/straight
    [ "$(sum "runs/$1/step-$next")" = "$(sum runs/straight/step-$next)" ]; ok $? "$2: goes on from its last checkpoint on other ranks, bit for bit"
}

for way in "${ways[@]}"; do
    # MPI's launcher may end the others itself, with a code of its own.
    long $way $way-killed 60
    start=$(now); kill -KILL "$(rank_of 2)"; ended
    [ $code -ne 0 ] && [ $(($(now) - start)) -lt 10000000000 ] && { [ $way = mpi ] || { [ "$codes" = "75 75 137 75 " ] && grep -q 'rank 2 is gone' err; }; }
    ok $? "$way: a rank is killed: $([ $way = tcp ] && echo "the others end with 75, naming it" || echo "exit $code"), after $(since $start) s"
    goes_on $way-killed $way

    long $way $way-stopped 3
    start=$(now); stopped=$(rank_of 3); kill -STOP "$stopped"
    for _ in $(seq 300); do [ "$(cat err.* | grep -c 'gives up')" -ge $([ $way = tcp ] && echo 3 || echo 1) ] && break; sleep 0.05; done
    took=$(since $start); sleep 0.5; kill -KILL "$stopped" 2>/dev/null  # a launcher may wait for it for ever
    ended
    [ $code -eq 75 ] || [ $code -eq 137 ] && grep -Eq '\(move [0-9]+\): (nothing from|not all was taken by) rank [0-3]' err && [ "${took%.*}" -lt 10 ]
    ok $? "$way: a rank is stopped: with a deadline of 3 s the others name the move and the rank after $took s"
    [ $way = mpi ] || [ "$codes" = "75 75 75 137 " ]; ok $? "$way: and end with 75"

    long $way $way-asked 60
    start=$(now); kill -USR1 "$(rank_of 1)"; ended
    says 75 "and saved: --resume goes on" 60; echo "  after $(since $start) s"
done

# ---- one rank of two has trouble of its own ----
# pair RANK COMMAND: two ranks by the variables, the one named under a command of its own
pair() {
    local r port=$((20000 + RANDOM % 12000)) odd=$1 under; shift
    pids=()
    rm -rf err.* runs/pair
    for r in 0 1; do
        under=(); [ $r = $odd ] && under=("$@")
        RANK=$r WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port timeout 60 "${under[@]}" "$kedge" train run.yaml --set parallel.data=2 \
            --set threads=1 --set parallel.deadline=5 --set output=runs/pair --quiet >out.$r 2>err.$r & pids+=($!)
    done
    ended
}
if [ $plain -eq 1 ]; then
    least=8192  # KiB that its libraries map
    until (ulimit -v $least; "$kedge" info >out 2>err) 2>/dev/null; do least=$((least + 2048)); done
    start=$(now)
    pair 1 bash -c "ulimit -v $((least + 4096)); exec \"\$@\"" bash
    [ "$codes" = "1 1 " ] && grep -q '^kedge: rank 1: out of memory: [0-9]* bytes' err.0; ok $? "tcp: no memory for rank 1: both end with 1 and name it, after $(since $start) s"
    [ ! -e runs/pair ]; ok $? "and leave nothing"
    # Each place that asks for memory, or a sample of the later ones. Before the ranks have joined there is nobody to tell: the
    # other waits for its deadline.
    pair 1 env FAULT_STACKS="$home/places" LD_PRELOAD="$shim"
    bad=0 count=0 most=0 early=0 none=0
    for at in $(if [ "${KEDGE_FAULTS:-}" = all ]; then cat places; else tail -n 120 places | shuf -n 12 --random-source=<(yes "${KEDGE_SEED:-1}"); fi); do
        start=$(now)
        pair 1 env FAULT_MEMORY=$at LD_PRELOAD="$shim"
        took=$((($(now) - start) / 1000000)) count=$((count + 1))
        [ $took -gt $most ] && most=$took
        case $codes in
            "0 0 ") none=$((none + 1)); [ "$(sum runs/pair/step-10)" = "$whole" ] ;;
            "75 1 ") early=$((early + 1)); grep -q 'joining.*nothing from rank 1' err.0 ;;
            *) [ "$codes" = "1 1 " ] && grep -q 'rank 1.*\(memory\|thread\)' err.0 ;;
        esac || { bad=$((bad + 1)); echo "request $at: $codes"; cat err; }
    done
    [ $bad -eq 0 ] && [ $count -gt 0 ]; ok $? "tcp: a request for memory is refused to rank 1 ($count places): both end with 1 and name it ($none did not matter, $early came before joining); at most $most ms"
else
    echo "skipped: a rank without memory: a sanitizer is in the shim's place"
fi

room=$(($(du -sk runs/one/step-10 | cut -f1) * 3 / 2))
if unshare -rm true 2>/dev/null; then
    mkdir full
    # both ranks in one view of the disk
    cat >full.sh <<SH
mount -t tmpfs -o size=${room}k none full
export WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$((20000 + RANDOM % 12000))
for r in 0 1; do RANK=\$r timeout 60 "$kedge" train run.yaml --set parallel.sequence=2 --set save.every=1 --set output=full/a 2>err.\$r & pids[r]=\$!; done
for r in 0 1; do wait \${pids[r]}; echo \$?; done >codes
find full -name '*.tmp' >left
cp -r full/a runs/full
SH
    rm -f err.*; start=$(now)
    unshare -rm bash full.sh
    [ "$(tr '\n' ' ' <codes)" = "1 1 " ] && [ ! -s left ] && grep -q 'step 2 could not be saved, going on: full/a/step-2.tmp/.*No space left' err.0 &&
        tail -1 err.0 | grep -q '^kedge: full/a/step-10.tmp/.*No space left'
    ok $? "tcp: rank 0's disk is full: a warning at each save, all steps are made, exit 1 at the end of $(since $start) s"
    ranks tcp 4 train run.yaml --set parallel.sequence=4 --set output=runs/full --resume
    [ $code -eq 0 ] && [ "$(sum runs/full/step-10)" = "$whole" ]; ok $? "where there is room again it goes on from step 1 on four ranks: the same bits"
else
    echo "skipped: a full disk: no tmpfs can be mounted here"
fi

cp -r runs/one runs/flip
printf 'x' | dd of=runs/flip/step-10/optimizer.safetensors bs=1 seek=5000 conv=notrunc 2>/dev/null
ranks tcp 4 train run.yaml --set parallel.sequence=2 --set parallel.data=2 --set output=runs/flip --resume
[ $code -eq 0 ] && grep -q 'step-10 is not used: .*optimizer.safetensors: its hash' err && [ "$(sum runs/flip/step-10)" = "$whole" ]
ok $? "a damaged checkpoint: named, and the one before it is used on four ranks: the same bits"
echo done
