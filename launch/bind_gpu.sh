#!/usr/bin/env bash
# Shows one GPU of the node to a rank, by the rank's number on the node:
#
#   mpirun -n 9 bash launch/bind_gpu.sh python -m fedcomloc_mpi.train
#
# With more ranks than GPUs several ranks share one. Without GPUs the program is started as it is.
set -euo pipefail
rank=${MPI_LOCALRANKID:-${OMPI_COMM_WORLD_LOCAL_RANK:-${PMI_LOCAL_RANK:-${SLURM_LOCALID:-}}}}
if [ -z "$rank" ]; then
    echo "launch/bind_gpu.sh: no launcher says which rank of its node this is; start it by mpirun or srun" >&2
    exit 2
fi
# Set but empty, it hides all GPUs.
if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
    IFS=, read -ra gpus <<<"$CUDA_VISIBLE_DEVICES"
elif command -v nvidia-smi >/dev/null; then
    # Without a driver it prints its error where the numbers should be.
    mapfile -t gpus < <(nvidia-smi --query-gpu=index --format=csv,noheader | grep -x "[0-9]*")
else
    gpus=()
fi
if [ "${#gpus[@]}" -gt 0 ]; then
    export CUDA_VISIBLE_DEVICES="${gpus[rank % ${#gpus[@]}]}"
fi
exec "$@"
