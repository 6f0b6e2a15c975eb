#!/usr/bin/env bash
# The whole road in one go, on pictures that it draws: LabelMe files -> dataset -> model -> score, predictions, memory
# report, ONNX file. Everything lands in ./demo, which is made anew each time. About eight minutes on two CPU cores, of
# which the installation is three the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/environment
began=$(date +%s)

step() { printf '\n== %s\n$ %s\n' "$1" "${*:2}"; "${@:2}"; }

rm -rf demo
step "draw 60 pictures of machine parts, annotated as LabelMe does" python examples/make_pictures.py demo/parts --count 60
step "and 6 more to predict, without annotations" python examples/make_pictures.py demo/new --count 6 --seed 1 --no-annotations
cd demo
step "convert" segkit convert parts
step "train, from random weights: nothing is downloaded" segkit train --weights none --time 150s --eval-every 4
step "score" segkit eval
step "predict" segkit predict new --format overlay,coco,labelme
step "where does the memory go?" segkit memprofile --steps 26
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
== made in {time.time() - float(sys.argv[1]):.0f} s
score          mask AP {metrics['AP']:.3f}, AP50 {metrics['AP50']:.3f}   (demo/runs/latest/metrics.json)
overlay        {overlay}
LabelMe file   {labelme}   (open it: .venv/bin/segkit label demo/predictions/labelme)
memory report  demo/memprofile/memory.html   ({memory['verdict']}, peak {memory['peak']['allocated'] / 2**20:.0f} MiB)
model          demo/runs/latest/best.pt, and for other programs demo/runs/latest/model.onnx""")
PYTHON
