#!/usr/bin/env bash
# What can only be measured where a GPU is: the GPU tests, two ranks on one device, throughput and memory of a step.
#   bash benchmarks/on_gpu.sh OUT      writes OUT/*.log; needs no network, draws its own pictures
# Not yet run: no GPU was at hand when it was written.
set -euo pipefail
out=$1
mkdir -p "$out"
here=$(cd "$(dirname "$0")/.." && pwd)
nvidia-smi -L | tee "$out/device.log"
(cd "$here" && python -m pytest -m gpu -q) 2>&1 | tee "$out/tests.log"
python "$here/examples/make_pictures.py" "$out/parts" --count 200 --size 768
segkit convert "$out/parts" --out "$out/dataset" --force --quiet
for precision in fp32 bf16; do
    for micro in 2 8; do
        segkit train "$out/dataset" --weights none --backbone resnet50 --batch 8 --micro-batch "$micro" \
            --precision "$precision" --steps 60 --eval-every 1000 --out "$out/runs" --name "r50-$precision-$micro" \
            2>&1 | tee "$out/train-$precision-$micro.log"
        segkit memprofile "$out/runs/r50-$precision-$micro" --steps 30 --out "$out/memory-$precision-$micro"
    done
done
