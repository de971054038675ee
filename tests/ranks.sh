# What the scripts of several ranks share, after command.sh: a run, and ways to start it on N ranks.
numbered 60 >a.jsonl
cat >run.yaml <<'YAML'
model: {init: {arch: qwen2, preset: tiny, seed: 1}}
tokenizer: bytes
data: {train: [a.jsonl], valid: [a.jsonl]}
window: 512
mask: anchor
batch: {windows: 4, micro: 1}
optim: {lr: 4e-3}
steps: 10
save: {every: 5, keep: 2}
eval: {every: 5, windows: 2}
parallel: {deadline: 60}
output: runs/one
YAML
losses() { grep -o '"loss":[^,]*' "$1/metrics.jsonl" | cut -d: -f2; }
same() { [ "$(sum "$1/step-10" 2>/dev/null)" = "$whole" ] && [ "$(losses "$1")" = "$(losses runs/one)" ]; }
now() { date +%s%N; }
since() { echo "$((($(date +%s%N) - $1) / 100000000))" | sed -E 's/.?$/.&/; s/^\./0./'; }  # seconds and tenths

# MPI's launcher, if the build has one
mpi=()
case $build in
*-openmpi*) mpi=(mpirun.openmpi --oversubscribe) ;;
*-mpich*) mpi=(mpirun.mpich) ;;
esac
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_hwloc_base_binding_policy=none

# variables N [KEDGE'S ARGUMENTS]: N ranks in the background by torchrun's variables alone; pids, and err.R of each
variables() {
    local n=$1 r port=$((20000 + RANDOM % 12000)); shift
    pids=()
    rm -f err.*
    for r in $(seq 0 $((n - 1))); do
        RANK=$r WORLD_SIZE=$n MASTER_ADDR=127.0.0.1 MASTER_PORT=$port timeout 120 "$kedge" "$@" >out.$r 2>err.$r & pids+=($!)
    done
}
# ended: waits for them; codes: of each rank; code: the largest; err: what all said
ended() {
    local p
    codes="" code=0
    for p in "${pids[@]}"; do
        wait "$p" 2>/dev/null; p=$?
        codes+="$p "
        [ $p -gt $code ] && code=$p
    done
    cat err.* >err
}
# started WAY N ARGUMENTS: N ranks, in the background, by variables or by MPI
started() {
    local way=$1; shift
    if [ "$way" = tcp ]; then variables "$@"; return; fi
    local n=$1; shift
    rm -f err.*
    timeout 120 "${mpi[@]}" -n "$n" "$kedge" "$@" >out 2>err.0 & pids=($!)
}
ranks() { started "$@"; ended; }
# rank_of N: the process of rank N of those started last
rank_of() { grep -lzE "^(OMPI_COMM_WORLD_RANK|PMI_RANK|RANK)=$1\$" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 | while read -r p; do
    [ "$(readlink /proc/"$p"/exe)" = "$(realpath "$kedge")" ] && [ "$(readlink /proc/"$p"/cwd)" = "$home" ] && echo "$p"; done | head -1; }
# wait_step FOLDER N: until metrics.jsonl has step N
wait_step() { for _ in $(seq 1500); do grep -qs "\"step\": *$2[,}]" "$1/metrics.jsonl" && return; sleep 0.02; done; }
