#!/usr/bin/env bash
# The pages as a site in docs/_build/site; any warning is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/environment docs
sphinx-build -W --keep-going -q -b html docs docs/_build/site
echo "docs/_build/site/index.html"
