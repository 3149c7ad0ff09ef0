#!/usr/bin/env bash
# Runs one training job inside an allocation, or goes on with it where an earlier run of the same job has stopped.
#
#   launch/job.sh [FLAG OF fedcomloc_mpi.train]...        from the root of the checkout
#
# Variables, all optional:
#   MPI      mpich (default), openmpi or impi: the library that mpi4py loads
#   LAUNCH   mpirun (default) or srun
#   RANKS    number of ranks (default: the tasks of the allocation)
#   OUT      the run's folder; if it holds a run, that run goes on, with its own settings
#            (default: runs/ and the job's number, which a requeued job keeps)
#   VENV     virtual environment to activate (default: .venv, if it is there)
#   MODULES  modules to load before that, e.g. "gcc openmpi/5.0"
#   THREADS  threads of a rank (default 1), as --threads
#   LAUNCH_FLAGS  more flags of mpirun or srun, e.g. "--with-ft ulfm"
#   WRAP     a program in front of python on every rank, e.g. launch/bind_gpu.sh
#   HOSTS    a file with a line for each rank's host, for mpirun outside SLURM
#
# SIGUSR1 and SIGTERM are passed on: the round in flight ends, a checkpoint is written, and the job ends. After SIGUSR1,
# which the scheduler sends before the time is up, a SLURM job puts itself back into the queue.
set -euo pipefail

MPI=${MPI:-mpich}
LAUNCH=${LAUNCH:-mpirun}
RANKS=${RANKS:-${SLURM_NTASKS:-}}
THREADS=${THREADS:-1}
readonly TIME_NEARLY_UP=138 # 128 + SIGUSR1

fail() {
    echo "launch/job.sh: $*" >&2
    exit 2
}

for flag in "$@"; do
    case "$flag" in
    --out | --out=* | --resume | --resume=*) fail "$flag: name the run's folder by OUT, or a requeued job will not find it" ;;
    esac
done
[ -n "$RANKS" ] || fail "the number of ranks is not known: set RANKS, or give the allocation --ntasks"

if [ -n "${MODULES:-}" ]; then
    # Neither the site's scripts nor its modules are written for these.
    set +eu
    # The module command is a function that login shells have.
    # shellcheck disable=SC1091
    command -v module >/dev/null || . /etc/profile
    # shellcheck disable=SC2086 # several modules
    module load $MODULES || fail "module load $MODULES failed"
    set -eu
fi
if [ -n "${VENV:-}" ] || [ -d .venv ]; then
    # shellcheck disable=SC1091
    . "${VENV:-.venv}/bin/activate"
fi

# Libraries would otherwise start a thread for each core, in every rank.
export OMP_NUM_THREADS="$THREADS"

case "$MPI-$LAUNCH" in
mpich-mpirun) launcher=(mpirun -n "$RANKS" ${HOSTS:+-f "$HOSTS"}) ;;
impi-mpirun) launcher=(mpirun -n "$RANKS" ${HOSTS:+-f "$HOSTS"}) ;;
# By node: where more ranks than cores are allowed, Open MPI would put all on the first.
openmpi-mpirun) launcher=(mpirun -n "$RANKS" --map-by node ${HOSTS:+--hostfile "$HOSTS"}) ;;
# srun does not take over the cores of a task from sbatch.
mpich-srun | impi-srun) launcher=(srun --ntasks="$RANKS" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --mpi=pmi2) ;;
openmpi-srun) launcher=(srun --ntasks="$RANKS" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --mpi=pmix) ;;
*) fail "MPI=$MPI LAUNCH=$LAUNCH: MPI must be mpich, openmpi or impi, and LAUNCH mpirun or srun" ;;
esac
if [ "$MPI-$LAUNCH" = impi-srun ] && [ -z "${I_MPI_PMI_LIBRARY:-}" ]; then
    fail "Intel MPI under srun needs I_MPI_PMI_LIBRARY, the path of SLURM's libpmi2.so"
fi

if [ -z "${OUT:-}" ]; then
    number=${SLURM_ARRAY_JOB_ID:-${SLURM_JOB_ID:-${PBS_JOBID:-}}}
    [ -n "$number" ] || fail "not in a batch job: set OUT, the run's folder"
    OUT=runs/job-$number${SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}
fi
if [ -s "$OUT/config.toml" ]; then
    echo "launch/job.sh: $OUT holds a run: it goes on, with its own settings${1:+, not with those given here}"
    flags=(--resume "$OUT")
else
    mkdir -p "$(dirname "$OUT")"
    flags=(--out "$OUT" --threads "$THREADS" "$@")
fi

# A signal that comes before there is a job waits for it.
job='' pending=''
# shellcheck disable=SC2329 # the traps call it
pass_on() {
    # It may have ended by itself.
    if [ -n "$job" ]; then kill -"$1" "$job" 2>/dev/null || true; else pending=$1; fi
}
trap 'pass_on USR1' USR1
trap 'pass_on TERM' TERM

newest_checkpoint() {
    find "$OUT/checkpoints" -name '*.state' 2>/dev/null | sort | tail -n 1 || true
}
before=$(newest_checkpoint)

# shellcheck disable=SC2086 # several flags, and WRAP may have arguments
"${launcher[@]}" ${LAUNCH_FLAGS:-} ${WRAP:-} python -m fedcomloc_mpi.train "${flags[@]}" &
job=$!
[ -z "$pending" ] || pass_on "$pending"

# A trapped signal ends `wait`, but not the job.
code=0
wait "$job" || code=$?
while kill -0 "$job" 2>/dev/null; do
    code=0
    wait "$job" || code=$?
done

if [ "$code" -eq "$TIME_NEARLY_UP" ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    # A rank that the signal has killed, too early for it to be handled, ends the job with the same code.
    if [ "$(newest_checkpoint)" = "$before" ]; then
        echo "launch/job.sh: no checkpoint was written: the job is not requeued; it needs more time" >&2
    else
        scontrol requeue "$SLURM_JOB_ID"
    fi
fi
exit "$code"
