#!/usr/bin/env bash
# Run the tests, in an environment that this makes itself. Arguments go to pytest:
#   bash tests/run.sh              the fast ones, minutes on two cores
#   bash tests/run.sh -m slow      the slow ones
#   bash tests/run.sh -m gpu       those that need a CUDA device
# SEGKIT_TEST_PROCESSES=0 runs them in one process.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/environment dev
# Two processes, one thread each: a file's tests stay in one process, as they share trained models.
# tests/conftest.py has the order of the files.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec python -m pytest -n "${SEGKIT_TEST_PROCESSES:-2}" --dist loadfile --no-loadscope-reorder "$@"
