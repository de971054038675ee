#!/bin/bash
# Ranks started by torchrun's variables alone, in any build: the same bits on any number of them, and what is refused.
# Usage: tests/cli_launch.sh build/gcc
build=$(realpath "$1")
source_of=$PWD
. tests/command.sh
. "$source_of/tests/ranks.sh"
unset RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT

try train run.yaml
ok $code "a run on one rank"
whole=$(sum runs/one/step-10)
for layout in "2 1" "1 2" "2 2" "4 1" "1 4" "4 2"; do
    read -r s d <<<"$layout"
    ranks tcp $((s * d)) train run.yaml --set parallel.sequence=$s --set parallel.data=$d --set output=runs/$s-$d
    [ $code -eq 0 ] && same runs/$s-$d; ok $? "$s ranks a window times $d: the same losses, weights and moments"
done
ranks tcp 4 train run.yaml --set parallel.data=4 --set steps=5 --set output=runs/change
ranks tcp 2 train run.yaml --set parallel.sequence=2 --set output=runs/change --resume
[ $code -eq 0 ] && [ "$(sum runs/change/step-10)" = "$whole" ]; ok $? "stopped on four ranks, resumed on two: the same weights and moments"

# Which places: LOCAL_RANK's word where there is one.
LOCAL_RANK=1 ranks tcp 2 train run.yaml --set parallel.data=2 --set output=runs/places --log-ranks
grep -q '^kedge: rank 0 of 2, 1 of 2 on its host, joined by TCP' err.0; ok $? "--log-ranks says a rank's place on its host: LOCAL_RANK"
LOCAL_RANK=7 ranks tcp 2 train run.yaml --set parallel.data=2 --set output=runs/places-2 --log-ranks
grep -q '^kedge: rank 1 of 2, 1 of 2 on its host, joined by TCP' err.1; ok $? "or the order of ranks"

ranks tcp 2 train run.yaml --set parallel.data=4 --set output=runs/odd
[ "$codes" = "2 2 " ] && grep -q "sequence 1 times data 4 are 4 ranks, this job has 2" err; ok $? "more ranks in the run file than there are: exit 2, every one"
try train run.yaml --set parallel.sequence=2 --set output=runs/odd
says 2 "sequence 2 times data 1 are 2 ranks, this job has 1"
# refused "text" VARIABLES: one process with them
refused() { local text=$1; shift; env "$@" "$kedge" train run.yaml --set parallel.deadline=1 --set output=runs/odd >out 2>err; code=$?; says "${expected:-2}" "$text"; }
refused "WORLD_SIZE says 2 processes, but RANK is not set" WORLD_SIZE=2
refused "WORLD_SIZE says 2 processes, but MASTER_ADDR is not set" WORLD_SIZE=2 RANK=0
refused "WORLD_SIZE says 2 processes, but MASTER_PORT is not set" WORLD_SIZE=2 RANK=0 MASTER_ADDR=localhost
refused "RANK is 3, but WORLD_SIZE is not set" RANK=3 MASTER_ADDR=localhost MASTER_PORT=29500
refused "RANK is 2 of WORLD_SIZE 2" WORLD_SIZE=2 RANK=2 MASTER_ADDR=localhost MASTER_PORT=29500
refused "WORLD_SIZE=two: a number from 1" WORLD_SIZE=two RANK=0 MASTER_ADDR=localhost MASTER_PORT=29500
refused "MASTER_PORT=65535: a number from 1 to 65534" WORLD_SIZE=2 RANK=0 MASTER_ADDR=localhost MASTER_PORT=65535
expected=75 refused "joining by localhost port 1: nothing from rank 0 after 1 s" WORLD_SIZE=2 RANK=1 MASTER_ADDR=localhost MASTER_PORT=1
expected=75 refused "joining by localhost port 2: nothing from rank 0" WORLD_SIZE=2 RANK=1 MASTER_ADDR=localhost MASTER_PORT=1 TORCHELASTIC_USE_AGENT_STORE=True
[ ! -e runs/odd ]; ok $? "what never began left nothing"
WORLD_SIZE=1 RANK=0 MASTER_ADDR=localhost MASTER_PORT=29500 try train run.yaml --set output=runs/single
[ $code -eq 0 ] && same runs/single; ok $? "WORLD_SIZE=1 is one rank"
if [ ${#mpi[@]} -eq 0 ]; then
    OMPI_COMM_WORLD_SIZE=2 try train run.yaml --set output=runs/odd;  says 1 "OMPI_COMM_WORLD_SIZE says 2 processes: this build has no MPI"
    SLURM_NTASKS=2 try train run.yaml --set output=runs/odd;          says 1 "SLURM_NTASKS says 2 processes: this build has no MPI"
else
    SLURM_NTASKS=4 try train run.yaml --set output=runs/odd
    says 2 "SLURM_NTASKS says 4 processes, but this one is alone"
fi
SLURM_NTASKS=2 ranks tcp 2 train run.yaml --set parallel.data=2 --set output=runs/slurm
[ $code -eq 0 ] && same runs/slurm; ok $? "the variables bring together what srun has started without PMIx"
echo done
