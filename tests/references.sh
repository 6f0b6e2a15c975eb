#!/usr/bin/env bash
# Scores and losses beside the packages that define them, scores on 100 random sets each: bash tests/references.sh [FOLDER]
# The packages go into FOLDER (default: .references), not into the environment; two of them are on GitHub only.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.references}
python=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)
if [ ! -d "$folder" ]; then
  # No dependencies: what is in the environment already must not be there twice.
  "$python" -m pip install -q --no-deps --target "$folder" \
    tidecv==1.0.1 pandas seaborn python-dateutil six pytz tzdata appdirs \
    ultralytics==8.4.190 ppi-python==0.2.3 numba llvmlite statsmodels patsy tqdm packaging lvis==0.5.3 scikit-learn==1.9.1 joblib threadpoolctl narwhals cloudpickle \
    monai==1.6.1 segmentation-models-pytorch==0.6.0 timm==1.0.31 \
    git+https://github.com/cocodataset/panopticapi git+https://github.com/bowenc0221/boundary-iou-api
fi
export PYTHONPATH="$PWD:$(realpath "$folder")${PYTHONPATH:+:$PYTHONPATH}" SEGKIT_REFERENCE_SETS=${SEGKIT_REFERENCE_SETS:-100}
exec "$python" -m pytest -q tests/test_loss_references.py tests/test_evaluate_references.py tests/test_labelled.py::test_intervals_equal_those_of_ppi_python -rs
