#!/bin/bash
# A training on two nodes with two GPUs each that goes on where it was, if the job is started again:
#     sbatch examples/pipelines/slurm.sh DATASET NAME
#SBATCH --job-name=segkit
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --gres=gpu:2
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
dataset=${1:?usage: sbatch slurm.sh DATASET NAME}
name=${2:?usage: sbatch slurm.sh DATASET NAME}
out=${OUT:-$PWD/runs}  # on a drive that all nodes see

# SIGTERM, two minutes before the end, makes the run finish its step and save; --time ends it before that.
if [ -f "$out/$name/last.pt" ]; then
  srun segkit train --resume "$out/$name"
else
  srun segkit train "$dataset" --out "$out" --name "$name" --time "${TIME:-220m}"
fi
