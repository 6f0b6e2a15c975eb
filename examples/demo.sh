#!/usr/bin/env bash
# The whole pipeline on images that this script draws: LabelMe files -> dataset -> model -> score, predictions, memory
# report, ONNX file. All output is in ./demo, which is deleted and made again each time. It takes about eight minutes on
# two CPU cores, of which the installation takes three the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/environment
began=$(date +%s)

step() { printf '\n== %s\n$ %s\n' "$1" "${*:2}"; "${@:2}"; }

rm -rf demo
step "draw 60 images of machine parts, with LabelMe annotations" python examples/make_pictures.py demo/parts --count 60
step "draw 6 more images to predict, without annotations" python examples/make_pictures.py demo/new --count 6 --seed 1 --no-annotations
cd demo
step "convert" segkit convert parts
step "train from random weights (nothing is downloaded)" segkit train --weights none --time 150s --eval-every 4
step "evaluate" segkit eval
step "predict" segkit predict new --format overlay,coco,labelme
step "measure the memory of a training step" segkit memprofile --steps 26
step "export" segkit export
cd ..

python - "$began" <<'PYTHON'
import json, sys, time
from pathlib import Path

metrics = json.loads(Path("demo/runs/latest/metrics.json").read_text())["segm"]
memory = json.loads(Path("demo/memprofile/memory.json").read_text())
overlay = sorted(Path("demo/predictions/overlay").glob("*.jpg"))[0]
labelme = sorted(Path("demo/predictions/labelme").glob("*.json"))[0]
print(f"""
== done in {time.time() - float(sys.argv[1]):.0f} s
score          mask AP {metrics['AP']:.3f}, AP50 {metrics['AP50']:.3f}   (demo/runs/latest/metrics.json)
overlay        {overlay}
LabelMe file   {labelme}   (open it: .venv/bin/segkit label demo/predictions/labelme)
memory report  demo/memprofile/memory.html   ({memory['verdict']}, peak {memory['peak']['allocated'] / 2**20:.0f} MiB)
model          demo/runs/latest/best.pt, and for other programs demo/runs/latest/model.onnx""")
PYTHON
