#!/usr/bin/env bash
# Cells with a U-Net: train, count, measure in micrometres: bash examples/cells.sh [FOLDER_OF_LABELME_FILES]
# Without a folder it draws discs that touch. All output is in ./cells-demo, which is deleted and made again each time.
# About four minutes on two CPU cores; STEPS=3 tries only whether it runs.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/environment
steps=${STEPS:-300}
pictures=${1:+$(cd "$1" && pwd)}

step() { printf '\n== %s\n$ %s\n' "$1" "${*:2}"; "${@:2}"; }

rm -rf cells-demo
mkdir cells-demo
if [ -z "$pictures" ]; then
  python examples/make_cells.py cells-demo/pictures --count 24
  python examples/make_cells.py cells-demo/plates --count 4 --seed 1 --no-annotations
  pictures=pictures
fi
cd cells-demo
step "convert" segkit convert "$pictures"
step "train a U-Net that parts cells by their distance from the edge" \
  segkit train --model unet --instances distance --weights none --size 128 --steps "$steps" --name cells
step "which score threshold, and how many cells are missed or counted twice?" segkit eval --details
new=plates
[ -d plates ] || new=$pictures
step "count and measure; cells that the border cuts are marked" \
  segkit predict "$new" --format overlay,csv --measure --pixel-size 0.5um --edge mark
printf '\n== done\na row for each cell      cells-demo/predictions/instances.csv\na row for each picture   cells-demo/predictions/pictures.csv\n'
