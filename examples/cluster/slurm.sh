#!/bin/bash
# One run of many jobs: it saves before its time is over, is queued again, and goes on where it was, bit for bit.
#     sbatch slurm.sh run.yaml runs/a          kedge of `make MPI=1`, a file system that all nodes see
#SBATCH --job-name=kedge
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
# USR1, 600 s before the end, goes to the ranks: each finishes its step, rank 0 saves. A step and a checkpoint have to fit.
run=${1:-run.yaml} output=${2:-runs/slurm}

srun --mpi=pmix kedge train "$run" --set parallel.sequence="$SLURM_NTASKS" --set output="$output" --resume
code=$?
# 75: saved on a signal, or a rank was lost. Beyond 128: a rank was killed, by the machine's memory killer perhaps, so not for ever.
if [ $code -eq 75 ] || { [ $code -gt 128 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 5 ]; }; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
