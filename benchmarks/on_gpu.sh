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
# What it is said to need, beside what it did: reserved and driver of memory.json against "needed" of fit.json.
segkit memprofile --fit --vram 8GiB,16GiB,24GiB "$out/runs/r50-bf16-2" --out "$out/fit" || true
# The zoo's scripts stay on the CPU; they show that watching does not depend on a machine without CUDA.
python "$here/benchmarks/memory_overhead.py" 2>&1 | tee "$out/overhead.log"
python "$here/tests/zoo/run.py" --through command 2>&1 | tee "$out/zoo.log"
