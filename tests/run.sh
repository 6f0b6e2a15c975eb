#!/usr/bin/env bash
# Run the tests, in an environment that this makes itself. Arguments go to pytest:
#   bash tests/run.sh              the fast ones, minutes on two cores
#   bash tests/run.sh -m slow      the slow ones
#   bash tests/run.sh -m gpu       those that need a CUDA device
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/environment dev
exec python -m pytest "$@"
