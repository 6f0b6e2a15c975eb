#!/usr/bin/env bash
# Gather wheels of what a machine with a GPU and no network lacks; on_gpu.sh installs them with --wheels.
#   bash benchmarks/gpu_wheels.sh WHEELS [--python 3.12] [--glibc 28] [--present torch,torchvision,...]
# segkit itself needs none: on_gpu.sh runs it from the source tree.
set -euo pipefail
exec python "$(dirname "$0")/gpu/wheels.py" gather "$@"
