#!/usr/bin/env bash
# segkit between find, jq and sort: bash examples/pipelines/pipeline.sh [FOLDER]
# Without a folder of LabelMe files it draws one. Results go to stdout and words to stderr, so that pipes carry only data.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
here=$(cd "$(dirname "$0")" && pwd)
pictures=${1:-$work/pictures}
[ -n "${1:-}" ] || python "$here/../make_pictures.py" "$pictures" --count 12 >&2
pictures=$(cd "$pictures" && pwd)
cd "$work"

# The files that find names, and how many instances there are of each category.
find "$pictures" -name '*.json' | sort | segkit convert - --out dataset --val 0.25 --json |
  jq -r '.categories | to_entries[] | "\(.value)\t\(.key)"' | sort -rn

# What was not converted exactly, a line for each reason.
jq -r '.findings[] | "\(.action): \(.why)"' dataset/report.json | sort | uniq -c | sort -rn >&2

# Any tool's results: here the annotations themselves, which score 1.
jq '[.annotations[] | {image_id, category_id, segmentation, score: 1}]' dataset/val.json > results.json
segkit eval results.json --data dataset/val.json --iou segm --json | jq .segm.AP
