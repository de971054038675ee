#!/bin/bash
# A build with NCCL on a machine with or without a GPU, and its communicators on a simulation. Usage: tests/cli_nccl.sh build/gcc-nccl
build=$(realpath "$1")
. tests/command.sh
try info --json
case $build in
*-nccl*) grep -q '"nccl": true' out ;;
*) grep -q '"nccl": false' out ;;
esac
ok $((code + $?)) "the command starts, and says whether it has NCCL"
case $build in *-nccl*) ;; *)
    echo "skipped: NCCL: a build without it"
    echo done
    exit
    ;;
esac
"$build/tests/on_simulated_nccl" >out 2>err
ok $? "communicators on one to eight simulated GPUs, threads beneath"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
case $build in
*-openmpi*) KEDGE_RANKS_TEST=1 mpirun.openmpi -n 1 "$build/tests/on_simulated_nccl" >out 2>err ;;
*-mpich*) KEDGE_RANKS_TEST=1 mpirun.mpich -n 1 "$build/tests/on_simulated_nccl" >out 2>err ;;
*) echo "skipped: NCCL over MPI: a build without MPI"; echo done; exit ;;
esac
ok $? "a communicator on a simulated GPU, MPI beneath"
echo done
