#!/bin/bash
# examples/cluster: the batch script does what it says, with Slurm's commands played by others; the Kubernetes file starts a run as it is
# written there. Usage: tests/cli_cluster.sh build/gcc
build=$(realpath "$1")
source_of=$PWD
. tests/command.sh
. "$source_of/tests/ranks.sh"
unset RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT
here=$source_of/examples/cluster

try train run.yaml
whole=$(sum runs/one/step-10)

# ---- Slurm: srun starts its ranks by the variables, or ends as it is told to ----
mkdir bin
ln -s "$kedge" bin/kedge
cat >bin/srun <<'SH'
#!/bin/bash
[ -z "${SRUN_CODE:-}" ] || exit "$SRUN_CODE"
[ "$1" = --mpi=pmix ] && shift
n=$SLURM_NTASKS
unset SLURM_NTASKS
pids=()
echo $$ >srun.pid
trap 'kill -USR1 "${pids[@]}"' USR1
for r in $(seq 0 $((n - 1))); do RANK=$r WORLD_SIZE=$n MASTER_ADDR=127.0.0.1 MASTER_PORT=$PORT "$@" & pids+=($!); done
code=0
for p in "${pids[@]}"; do while :; do wait $p; c=$?; kill -0 $p 2>/dev/null || break; done; [ $c -gt $code ] && code=$c; done
exit $code
SH
printf '#!/bin/bash\necho "$@" >>requeued\n' >bin/scontrol
chmod +x bin/*
# batch [VARIABLES]: the script as a job of two tasks
batch() { rm -f requeued; env PATH="$PWD/bin:$PATH" SLURM_JOB_ID=17 SLURM_NTASKS=2 PORT=$((20000 + RANDOM % 12000)) "$@" bash "$here/slurm.sh" run.yaml runs/slurm >out 2>err; code=$?; }
bash -n "$here/slurm.sh"; ok $? "slurm.sh is a script"
grep -q '^#SBATCH --signal=USR1@[0-9]*$' "$here/slurm.sh"; ok $? "its signal goes to the ranks, not to the shell"
batch; [ $code -eq 0 ] && [ ! -e requeued ] && [ "$(sum runs/slurm/step-10)" = "$whole" ]; ok $? "a job that comes to its end is not queued again"
rm -rf runs/slurm; sed -i 's/^steps:.*/steps: 100000/' run.yaml
batch & job=$!
wait_step runs/slurm 3; kill -USR1 "$(cat srun.pid)"; wait $job
[ "$(cat requeued 2>/dev/null)" = "requeue 17" ] && grep -q 'and saved: --resume goes on' err; ok $? "USR1: saved, and queued again"
last=$(ls runs/slurm | grep -oE '^step-[0-9]+$' | sort -V | tail -1) last=${last#step-}
sed -i "s/^steps:.*/steps: $((last + 1))/" run.yaml
batch; [ $code -eq 0 ] && [ -e "runs/slurm/step-$((last + 1))" ] && grep -q "going on after step $last" err; ok $? "the job that comes after it goes on"
for row in "2 0 no" "1 0 no" "75 99 yes" "137 0 yes" "137 5 no"; do
    read -r c restarts again <<<"$row"
    batch SRUN_CODE=$c SLURM_RESTART_COUNT=$restarts
    [ $code -eq $c ] && [ $([ -e requeued ] && echo yes || echo no) = $again ]; ok $? "srun ends with $c, started again $restarts times: queued again: $again"
done

# ---- Kubernetes: its command and variables, on this host ----
if ! python3 -c 'import yaml' 2>/dev/null; then
    echo "skipped: kubernetes.yaml: no python3 with yaml"
else
    sed -i 's/^steps:.*/steps: 10/' run.yaml
    python3 - "$here/kubernetes.yaml" >job.sh <<'PY'
import shlex, sys, yaml
jobset, policy = yaml.safe_load_all(open(sys.argv[1]))
job = jobset["spec"]["replicatedJobs"][0]
pods = job["template"]["spec"]
pod = pods["template"]["spec"]
container, = pod["containers"]
env = {e["name"]: e for e in container["env"]}
assert env["RANK"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
# <jobset>-<job>-<index of the job>-<index of the pod>.<the jobset's subdomain>
name = jobset["metadata"]["name"]
assert env["MASTER_ADDR"]["value"] == f"{name}-{job['name']}-0-0.{name}", env["MASTER_ADDR"]
assert pods["completions"] == pods["parallelism"] == int(env["WORLD_SIZE"]["value"]) and pods["completionMode"] == "Indexed"
labels = pods["template"]["metadata"]["labels"].items()
assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels
assert all(e["podSelector"]["matchLabels"].items() <= labels for rule in policy["spec"]["ingress"] for e in rule["from"])
assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
print("size=" + env["WORLD_SIZE"]["value"], "port=" + env["MASTER_PORT"]["value"])
print("command=(%s)" % " ".join(shlex.quote(w) for w in container["command"]))
PY
    ok $? "kubernetes.yaml is one, its parts fit each other"
    . ./job.sh
    mkdir -p pod/runs; cp run.yaml a.jsonl pod/runs/; sed -i "s|a.jsonl|$PWD/a.jsonl|g" pod/runs/run.yaml
    port=$((20000 + RANDOM % 12000)) pids=()
    rm -f err.*
    for r in $(seq 0 $((size - 1))); do
        words=("${command[@]//\/runs\//$PWD/pod/runs/}")
        RANK=$r WORLD_SIZE=$size MASTER_ADDR=127.0.0.1 MASTER_PORT=$port timeout 60 "$kedge" "${words[@]:1}" >out.$r 2>err.$r & pids+=($!)
    done
    ended
    [ $code -eq 0 ] && [ "$(sum pod/runs/a/step-10)" = "$whole" ]; ok $? "its command and variables start a run: the bits of one rank"
fi
echo done
