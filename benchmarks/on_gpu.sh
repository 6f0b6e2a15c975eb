#!/usr/bin/env bash
# Measure on a machine with a GPU what can be measured nowhere else, the most valuable first, in eight minutes at most.
#
#   bash benchmarks/on_gpu.sh OUT [--only STAGE,STAGE] [--wheels DIR] [--rehearse]
#
#   OUT          receives results.jsonl (every figure as soon as it is known), log.txt and summary.md
#   --only       these stages alone; their names and time limits are listed below
#   --wheels     install from this folder what is missing here; benchmarks/gpu_wheels.sh fills it. No network is needed.
#   --rehearse   run everything on the CPU with tiny sizes: the figures mean nothing, but mistakes show
#
# A stage that fails or reaches its time limit does not stop the others. Exit code 1: one of them did.
set -euo pipefail

stages=(machine:35 tests:85 step:100 fit:55 vram:40 memprofile:55 unet:25 predict:35 oom:25 ranks:25) # 480 s

usage() {
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
    echo "stages and their time limits in seconds: ${stages[*]}" >&2
    exit 2
}
out="" only="" wheels="" rehearse=""
while [ $# -gt 0 ]; do
    case $1 in
        --only) only=${2:?--only needs names}; shift 2 ;;
        --wheels) wheels=$(cd "${2:?--wheels needs a folder}" && pwd); shift 2 ;;
        --rehearse) rehearse=--rehearse; shift ;;
        -*) usage ;;
        *) [ -z "$out" ] || usage; out=$1; shift ;;
    esac
done
[ -n "$out" ] || usage
for name in ${only//,/ }; do
    [[ " ${stages[*]}" == *" $name:"* ]] || { echo "error: no stage $name" >&2; usage; }
done

mkdir -p "$out"
out=$(cd "$out" && pwd)
here=$(cd "$(dirname "$0")/.." && pwd)
python=$(command -v python || command -v python3)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1

if [ -n "$wheels" ]; then
    mapfile -t missing < <("$python" "$here/benchmarks/gpu/wheels.py" missing "$wheels")
    if [ ${#missing[@]} -gt 0 ]; then
        "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/site" "${missing[@]}"
        export PYTHONPATH=$PYTHONPATH:$work/site
    fi
fi
# Polygons in C, where there is a compiler; a rehearsal leaves the source tree as it is.
[ -n "$rehearse" ] || "$python" "$here/hatch_build.py" >>"$out/log.txt" 2>&1 || true

failures=0
for each in "${stages[@]}"; do
    name=${each%:*} limit=${each#*:}
    [[ -z $only || ,$only, == *",$name,"* ]] || continue
    [ -z "$rehearse" ] || limit=$((limit * 20)) # a CPU is slower, and here nothing is measured
    began=$SECONDS code=0
    echo "== $name (at most $limit s)" | tee -a "$out/log.txt"
    timeout --kill-after=5 "$limit" "$python" "$here/benchmarks/gpu/$name.py" "$out" $rehearse >>"$out/log.txt" 2>&1 || code=$?
    echo "{\"stage\": \"$name\", \"case\": \"whole stage\", \"exit_code\": $code, \"seconds\": $((SECONDS - began)), \"limit\": $limit}" \
        >>"$out/results.jsonl"
    if [ "$code" -ne 0 ]; then
        failures=$((failures + 1))
        echo "   failed with exit code $code after $((SECONDS - began)) s; the end of its log:"
        tail -n 5 "$out/log.txt" | cut -c1-300
    fi
done
"$python" "$here/benchmarks/gpu/summary.py" "$out" | tee "$out/summary.md"
echo "$failures stages failed; $SECONDS s in all"
[ "$failures" -eq 0 ]
