#!/usr/bin/env bash
# Pedestrians with Mask R-CNN: bash examples/pedestrians.sh PENNFUDAN
# PENNFUDAN is the unpacked folder of https://www.cis.upenn.edu/~jshi/ped_html/PennFudanPed.zip: pictures in PNGImages, and
# masks in PedMasks in which each person has a number. All output is in ./pedestrians-demo, which is made again each time.
# With a GPU about ten minutes; STEPS=3 tries only whether it runs, and TRAIN adds options, such as --weights none.
set -euo pipefail
data=$(cd "${1:?usage: bash examples/pedestrians.sh PENNFUDAN}" && pwd)
cd "$(dirname "$0")/.."
. .ci/environment
steps=${STEPS:-1000}

step() { printf '\n== %s\n$ %s\n' "$1" "${*:2}"; "${@:2}"; }

rm -rf pedestrians-demo
mkdir pedestrians-demo
cd pedestrians-demo
step "masks to a dataset" segkit convert "$data" --from idmask
# shellcheck disable=SC2086
step "train" segkit train --steps "$steps" --name pedestrians ${TRAIN:-}
step "evaluate" segkit eval --report
step "predict" segkit predict dataset/images --format overlay,coco --score best
printf '\n== done\nreport     pedestrians-demo/evaluation/report.html\noverlays   pedestrians-demo/predictions/overlay\n'
