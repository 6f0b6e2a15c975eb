"""``segkit serve``: what it answers over HTTP, its limits, and the page."""

import base64
import http.client
import io
import json
import re
import subprocess
import sys

import numpy as np
import psutil
import pytest
from drawn_discs import draw_discs
from PIL import Image
from served import DISCS, PICTURE, TOKEN, Running, encoded

from segkit.config.serve import ServeConfig
from segkit.data.masks import rle_to_mask
from segkit.errors import ConfigError

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    server = Running(tmp_path_factory.mktemp("serve"), max_body=200_000, max_pixels=20_000, score=0.1)
    yield server
    server.stop()


def masks_of(discs, height, width):
    rows, columns = np.mgrid[:height, :width]
    return [(columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= r**2 for x, y, r, _ in discs]


def filled(rings, height, width):
    """The pixels whose centres are inside, by the even-odd rule."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside = np.zeros((height, width), bool)
    for ring in rings:
        for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
            if y1 != y2:
                crosses = (np.minimum(y1, y2) <= rows) & (rows < np.maximum(y1, y2))
                inside ^= crosses & (columns < x1 + (rows - y1) * (x2 - x1) / (y2 - y1))
    return inside


def test_a_picture_is_answered_with_its_instances(running):
    found = running.ask("POST", "/predict", PICTURE)
    assert found.status == 200, found.body
    assert (found.body["height"], found.body["width"]) == (80, 100)
    instances = found.body["instances"]
    assert sorted(each["category"] for each in instances) == ["a", "a", "b"]
    assert [each["score"] for each in instances] == sorted((each["score"] for each in instances), reverse=True)
    expected = {mask.tobytes() for mask in masks_of(DISCS, 80, 100)}
    for each in instances:
        mask = rle_to_mask(each["segmentation"]).astype(bool)
        assert mask.tobytes() in expected
        assert each["area"] == mask.sum()
        np.testing.assert_array_equal(filled(each["outlines"], 80, 100), mask)
        x, y, w, h = each["bbox"]
        assert mask[round(y) : round(y + h), round(x) : round(x + w)].sum() == mask.sum()
    assert len(running.ask("POST", "/predict?categories=b", PICTURE).body["instances"]) == 1
    assert running.ask("POST", "/predict?score=0.99", PICTURE).body["instances"] == []
    assert running.ask("POST", "/predict", encoded(draw_discs(40, 40, []))).body["instances"] == []


def test_a_turned_photo_is_answered_upright(running):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(draw_discs(80, 100, DISCS)).copy()).save(buffer, "PNG", exif=exif)
    found = running.ask("POST", "/predict", buffer.getvalue()).body
    assert (found["height"], found["width"]) == (80, 100)
    assert len(found["instances"]) == 3


def remote(picture=PICTURE, prefix="data:image/png;base64,", **params):
    image = prefix + base64.b64encode(picture).decode()
    return json.dumps({"model": "discs", "image": image, "params": params})


def test_the_remote_model_of_x_anylabeling(running):
    """The requests of anylabeling/services/auto_labeling/remote_server.py, and the fields that it reads."""
    models = running.ask("GET", "/v1/models", Content_Type="application/json", Token="")
    assert models.status == 200
    assert models.body["success"] is True
    about = models.body["data"]["discs"]
    assert about["display_name"] == "segkit discs"
    assert about["batch_processing_mode"] == "default"
    assert about["classes"] == ["a", "b"]
    assert {"name": "edit_conf", "value": 0.1} in about["widgets"]
    assert running.ask("GET", "/v1/models/discs/info").body["data"] == {"model_id": "discs", **about}
    body = remote(conf_threshold=0.1, iou_threshold=0.0, epsilon_factor=0.0, filter_classes=[], current_task=None)
    found = running.ask("POST", "/v1/predict", body, Content_Type="application/json", Token="")
    assert found.status == 200, found.body
    assert found.body["success"] is True
    assert found.body["data"]["description"] == ""
    shapes = found.body["data"]["shapes"]
    assert sorted(shape["label"] for shape in shapes) == ["a", "a", "b"]
    expected = {mask.tobytes() for mask in masks_of(DISCS, 80, 100)}
    for shape in shapes:
        assert shape["shape_type"] == "polygon"
        assert 0 <= shape["score"] <= 1
        assert shape["points"][0] == shape["points"][-1]
        assert filled([shape["points"][:-1]], 80, 100).tobytes() in expected
        assert shape["group_id"] is None
    fewer = running.ask("POST", "/v1/predict", remote(prefix="", epsilon_factor=0.01, filter_classes=["b"])).body[
        "data"
    ]
    assert [shape["label"] for shape in fewer["shapes"]] == ["b"]
    assert len(fewer["shapes"][0]["points"]) < min(len(shape["points"]) for shape in shapes)
    assert running.ask("POST", "/v1/predict", remote(conf_threshold=1.0)).body["data"]["shapes"] == []


def test_parts_boxes_and_holes_as_shapes():
    from segkit.data.masks import mask_to_rle
    from segkit.data.records import Result
    from segkit.serving.answers import instances_of, shapes_of
    from segkit.serving.engine import Answer

    mask = np.zeros((20, 20), np.uint8)
    mask[2:9, 2:9] = mask[12:18, 12:18] = 1
    mask[4:6, 4:6] = 0
    results = (Result(0, 1, 0.9, (2, 2, 16, 16), mask_to_rle(mask)), Result(0, 1, 0.8, (1, 2, 3, 4)))
    answer = Answer(20, 20, (*results, Result(0, 1, 0.7, (0, 0, 0, 0), mask_to_rle(np.zeros((20, 20))))))
    shapes = shapes_of(answer, {1: "a"}, 0.0)
    assert [(shape["shape_type"], shape["group_id"]) for shape in shapes] == [
        ("polygon", 1), ("polygon", 1), ("rectangle", None),
    ]  # fmt: skip
    assert shapes[2]["points"] == [[1, 2], [4, 2], [4, 6], [1, 6]]
    assert sum(filled([shape["points"]], 20, 20).sum() for shape in shapes[:2]) == 49 + 36, "the hole is filled"
    document = instances_of(answer, {1: "a"})["instances"]
    np.testing.assert_array_equal(filled(document[0]["outlines"], 20, 20), mask > 0)
    assert "segmentation" not in document[1]
    assert document[2]["outlines"] == []


BAD = b"\x89PNG\r\n\x1a\n" + b"x" * 50


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "reason"),
    [
        ("POST", "/predict", b"", 400, "INVALID_IMAGE", "the body is empty"),
        ("POST", "/predict", b"no picture", 400, "INVALID_IMAGE", "image"),
        ("POST", "/predict", BAD, 400, "INVALID_IMAGE", "cannot be decoded"),
        ("POST", "/predict", PICTURE[: len(PICTURE) // 2], 400, "INVALID_IMAGE", "image"),
        ("POST", "/predict", b"x" * 200_001, 413, "BODY_TOO_LARGE", "more than 200000 bytes"),
        ("POST", "/predict", encoded(np.zeros((101, 200), np.uint8)), 413, "PICTURE_TOO_LARGE", "101x200 pixels"),
        ("POST", "/predict?score=2", PICTURE, 400, "INVALID_PARAMS", "score: '2' is not a number from 0 to 1"),
        ("POST", "/predict?score=nan", PICTURE, 400, "INVALID_PARAMS", "score"),
        ("POST", "/predict?categories=c", PICTURE, 400, "INVALID_PARAMS", "the model has no category 'c'"),
        ("GET", "/predict", None, 405, "METHOD_NOT_ALLOWED", "see docs/serve.md"),
        ("GET", "/nowhere", None, 404, "NOT_FOUND", "see docs/serve.md"),
        ("GET", "/../../etc/passwd", None, 404, "NOT_FOUND", "see docs/serve.md"),
        ("GET", "/v1/models/other/info", None, 404, "MODEL_NOT_FOUND", "there is no model 'other'"),
        ("POST", "/v1/predict", b"", 400, "INVALID_REQUEST", "not the JSON of a request"),
        ("POST", "/v1/predict", b"[" * 100_000, 400, "INVALID_REQUEST", "not the JSON of a request"),
        ("POST", "/v1/predict", b"\xff{}", 400, "INVALID_REQUEST", "not the JSON of a request"),
        ("POST", "/v1/predict", b"[]", 400, "INVALID_REQUEST", "not the JSON of a request"),
        ("POST", "/v1/predict", b'{"model": "discs"}', 400, "INVALID_REQUEST", "image"),
        ("POST", "/v1/predict", b'{"model": "discs", "image": 7}', 400, "INVALID_REQUEST", "image"),
        ("POST", "/v1/predict", b'{"model": "discs", "image": ""}', 400, "INVALID_IMAGE", "image is empty"),
        ("POST", "/v1/predict", b'{"model": "discs", "image": "!!"}', 400, "INVALID_IMAGE", "not base64"),
        ("POST", "/v1/predict", b'{"model": "discs", "image": "AAAA"}', 400, "INVALID_IMAGE", "image"),
        ("POST", "/v1/predict", b'{"model": "x", "image": "AAAA"}', 404, "MODEL_NOT_FOUND", "has 'discs'"),
        ("POST", "/v1/predict", remote(conf_threshold="high"), 400, "INVALID_PARAMS", "conf_threshold"),
        ("POST", "/v1/predict", remote(conf_threshold=True), 400, "INVALID_PARAMS", "conf_threshold"),
        ("POST", "/v1/predict", remote(epsilon_factor=-1), 400, "INVALID_PARAMS", "epsilon_factor"),
        ("POST", "/v1/predict", remote(filter_classes=["zebra"]), 400, "INVALID_PARAMS", "zebra"),
        ("POST", "/v1/predict", remote(filter_classes=[1]), 400, "INVALID_PARAMS", "filter_classes"),
        ("POST", "/v1/predict", remote(filter_classes={"a": 1}), 400, "INVALID_PARAMS", "filter_classes"),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, bytes) or len(str(value)) > 40 else str(value),
)  # fmt: skip
def test_malformed_requests_are_answered_with_a_reason(running, method, path, body, status, code, reason):
    found = running.ask(method, path, body)
    assert (found.status, found.body["error"]["code"]) == (status, code), found.body
    assert found.body["success"] is False
    assert reason in found.body["error"]["message"]
    assert "/tmp" not in found.body["error"]["message"], "no path of the server"
    assert running.ask("GET", "/health").body["status"] == "healthy", "the server goes on"


def test_a_body_without_a_length_has_the_same_limit(running):
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    connection.request("POST", "/predict", (b"x" * 50_000 for _ in range(6)), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert connection.getresponse().status == 413
    connection.close()


def test_metrics_are_what_prometheus_reads(running):
    from prometheus_client.parser import text_string_to_metric_families

    def value(name, **labels):
        text = running.ask("GET", "/metrics").body
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    before = value("segkit_requests_total", path="/predict", status="200")
    batches, pictures = value("segkit_batches_total"), value("segkit_pictures_total")
    assert running.ask("POST", "/predict", PICTURE).status == 200
    assert value("segkit_requests_total", path="/predict", status="200") == before + 1
    assert value("segkit_pictures_total") == pictures + 1
    assert value("segkit_batches_total") == batches + 1
    for phase in ("wait", "decode", "predict", "encode"):
        assert value("segkit_phase_seconds_count", phase=phase) >= 1
    rss = psutil.Process().memory_info().rss
    assert 0.5 * rss < value("segkit_resident_memory_bytes") < 2 * rss
    assert value("segkit_queue") == 0


def test_addresses_that_are_refused(tmp_path, segkit, running):
    for host in ("0.0.0.0", "192.168.1.5", "::", "example.org"):
        with pytest.raises(ConfigError, match="everybody in the network could use the server"):
            ServeConfig(host=host)
        assert ServeConfig(host=host, token=TOKEN).token == TOKEN
    for host in ("127.0.0.1", "127.5.5.5", "::1", "localhost"):
        assert ServeConfig(host=host).is_local
    for token in ("short", "with a space in it", "", "geheimes-wörtchen"):
        with pytest.raises(ConfigError, match="must have at least 8 letters and digits"):
            ServeConfig(token=token)
    for host in ("x" * 5000, "\udcff", "a..b", "no-such-host.invalid"):
        named = segkit("serve", tmp_path / "none.pt", "--host", host, "--token", TOKEN)
        assert named.code == 1
        assert "name an address of this computer" in named.err
    used = segkit("serve", tmp_path / "none.pt", "--port", running.port)
    assert used.code == 1
    assert f"127.0.0.1:{running.port}: Address already in use" in used.err
    missing = segkit("serve", tmp_path / "none.pt", "--port", 0, "--device", "cpu")
    assert missing.code == 1
    assert "no such model" in missing.err


def test_a_server_without_its_packages_names_the_extra(segkit, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    outcome = segkit("serve", here / "m.pt")
    assert outcome.code == 1
    assert "segkit serve: the package uvicorn is not installed" in outcome.err
    assert 'pip install "segkit[serve]"' in outcome.err


DROPPED = """<script>
const bytes = Uint8Array.from(atob("%s"), (letter) => letter.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], "drawn.png", {type: "image/png"}));
document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
</script>"""


@pytest.mark.parametrize("broken", [False, True])
def test_a_picture_that_is_dropped_on_the_page(running, tmp_path, broken):
    """In a real browser: the drop event, the request, the drawing and the table."""
    from browser import BROWSER
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    if BROWSER is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    picture = BAD if broken else PICTURE
    page = running.ask("GET", "/").body.replace("</body>", DROPPED % base64.b64encode(picture).decode() + "</body>")

    async def dropped(request):
        return HTMLResponse(page)

    path = f"/dropped-{broken}"
    running.app.router.routes.append(Route(path, dropped))
    shot = tmp_path / "page.png"
    done = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
            "--window-size=900,900", f"--user-data-dir={tmp_path / 'browser'}", "--virtual-time-budget=20000",
            f"--screenshot={shot}", "--dump-dom", f"http://127.0.0.1:{running.port}{path}",
        ],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if broken:
        assert 'class="error"' in done.stdout
        return
    assert "drawn.png: 3 instances" in done.stdout, done.stderr
    rows = re.findall(r"<tr><td[^>]*>(\w+)</td>", done.stdout)
    assert sorted(rows) == ["a", "a", "b"]
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    with Image.open(shot) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    red = (pixels[..., 0] > 150) & (pixels[..., 0] - pixels[..., 2] > 60) & (pixels[..., 0] - pixels[..., 1] > 60)
    assert red.sum() > 200, "the drawn discs, and outlines on them"
