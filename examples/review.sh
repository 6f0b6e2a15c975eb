#!/usr/bin/env bash
# The loop between a person and a model, on images that this script draws in ./review-demo (deleted and made again each
# time): train on a few annotated pictures, look for what is wrong with them, choose what to annotate next, compare two
# people. About five minutes on two CPU cores. With a display, leave --list out: LabelMe opens on the chosen pictures.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/environment
steps=${STEPS:-250}

step() { printf '\n== %s\n$ %s\n' "$1" "${*:2}"; "${@:2}"; }

rm -rf review-demo
python examples/make_pictures.py review-demo/pictures --count 24
python examples/make_pictures.py review-demo/more --count 20 --seed 1 --no-annotations
cd review-demo
cp -r pictures second
python - <<'PYTHON'
import json
from pathlib import Path

for number, path in enumerate(sorted(Path("second").glob("*.json"))[:6]):  # the second person is less careful
    document = json.loads(path.read_text())
    shapes = document["shapes"]
    if number % 2:
        shapes.pop()
    else:
        shapes[0]["points"] = [[x + 3, y + 3] for x, y in shapes[0]["points"]]
    path.write_text(json.dumps(document))
PYTHON
step "how far do two people agree?" segkit eval second --data pictures
step "facts about the annotations of the second" segkit check second
step "two folds, so that each picture is judged by a run that has not seen it" segkit convert second --val 0 --folds 2
for fold in 1 2; do
  step "train without fold $fold" segkit train --fold "$fold" --model unet --weights none --size 96 --steps "$steps" --name "fold$fold"
done
step "likely annotation errors" segkit check second --model runs/fold1 --out check --fix suspects
step "what to annotate next" segkit label more --next 5 --model runs/fold1 --list
printf '\n== done\npage of the check   review-demo/check/check.html\nto correct          segkit label review-demo/suspects\n'
