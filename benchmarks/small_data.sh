#!/usr/bin/env bash
# Mask R-CNN from random weights on drawn shapes, and a U-Net on CamVid: time and score of the defaults.
#   bash benchmarks/small_data.sh DATA OUT [SEED]     DATA holds lm_drawn_shapes and camvid_subset
# Run it on a quiet machine: it is limited by time, so what else runs costs steps. Note commit, machine and seed.
set -euo pipefail
data=$1 out=$2 seed=${3:-0}
mkdir -p "$out"
git -C "$(dirname "$0")" log -1 --format='commit %h %cd' --date=short
python -c 'import torch, platform, os; print("torch", torch.__version__, "cores", os.cpu_count(), platform.processor())'

segkit convert "$data/lm_drawn_shapes" --map background= --out "$out/shapes" --force --quiet
time segkit train "$out/shapes" --weights none --time 400s --eval-every 100 --seed "$seed" --out "$out/runs"

segkit convert "$data/camvid_subset" --out "$out/camvid" --force --quiet
time segkit train "$out/camvid" --model unet --weights none --time 600s --eval-every 100 --seed "$seed" --out "$out/runs"
