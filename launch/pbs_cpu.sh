#!/usr/bin/env bash
# A training job under PBS, as an example: sites differ in what `select` may hold, and in how mpirun learns the hosts.
#
#   qsub launch/pbs_cpu.sh                                        from the root of the checkout
#   qsub -v FLAGS="--dataset mnist --data-dir data",MPI=openmpi launch/pbs_cpu.sh
#
# A job that is run again (`qrerun`, preemption) goes on from its last checkpoint.
#PBS -S /bin/bash
#PBS -N fedcomloc
#PBS -l select=2:ncpus=8:mpiprocs=8
#PBS -l walltime=04:00:00
#PBS -j oe
#PBS -r y
set -euo pipefail
cd "${PBS_O_WORKDIR:?submit this script with qsub}"
export HOSTS="${PBS_NODEFILE:?PBS gives no list of hosts}"
RANKS=${RANKS:-$(wc -l <"$HOSTS")}
export RANKS
read -ra flags <<<"${FLAGS:-}"
# An empty array is an unset one to bash before 4.4.
exec bash launch/job.sh ${flags[@]+"${flags[@]}"}
