#!/usr/bin/env bash
# X-AnyLabeling's own window beside segkit serve: bash tests/xanylabeling.sh RUN PICTURE [FOLDER]
# It is installed into FOLDER (default: .xanylabeling), an environment of its own of about 1.5 GB. The window needs no
# screen. The picture is copied into FOLDER/work, where the saved shapes and a screenshot are then.
set -euo pipefail
run=$(realpath "$1") picture=$(realpath "$2")
cd "$(dirname "$0")/.."
folder=${3:-.xanylabeling}
python=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)
if [ ! -x "$folder/bin/python" ]; then
  "$python" -m venv "$folder"
  "$folder/bin/python" -m pip install -q "x-anylabeling-cvhub[cpu]==4.2.1"
fi
rm -rf "$folder/work" && mkdir "$folder/work" && cp "$picture" "$folder/work/"
picture=$(realpath "$folder/work/$(basename "$picture")")
token=$("$python" -c "import secrets; print(secrets.token_urlsafe())")
"$python" -m segkit serve "$run" --port 0 --token "$token" --score 0.3 --json > "$folder/work/serve.json" &
server=$!
trap 'kill "$server"; wait "$server"' EXIT
until grep -q url "$folder/work/serve.json"; do kill -0 "$server" && sleep 0.5; done
url=$("$python" -c "import json, sys; print(json.loads(open(sys.argv[1]).readline())['url'])" "$folder/work/serve.json")
"$folder/bin/python" tests/xanylabeling.py "$url" "$picture" "$folder/work/window.png" "$token" 2> "$folder/work/log.txt"
