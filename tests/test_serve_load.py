"""``segkit serve`` under load and at its end: a full queue, tokens, faults, signals, a thousand requests."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from random_models import card_of, checkpoint
from served import PICTURE, TOKEN, Running

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")


def test_a_full_queue_answers_busy_and_what_waits_goes_through_together(tmp_path):
    server = Running(tmp_path, queue=3, batch=4)
    held, going = threading.Event(), threading.Event()
    batches, predict = [], server.engine._predictor._predict

    def slow(images):
        batches.append(len(images))
        going.set()
        assert held.wait(60)
        return predict(images)

    server.engine._predictor._predict = slow
    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(server.ask, "POST", "/predict", PICTURE)]
        assert going.wait(60)
        answers += [clients.submit(server.ask, "POST", "/predict", PICTURE) for _ in range(3)]
        deadline = time.monotonic() + 60
        while server.engine._queue.qsize() < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        busy = server.ask("POST", "/predict", PICTURE)
        assert busy.status == 503
        assert busy.headers["Retry-After"] == "1"
        assert busy.body["error"]["code"] == "BUSY"
        assert server.ask("GET", "/health").status == 200
        server.server.ask_to_stop(signal.SIGTERM, None)  # what waits is answered before the end
        held.set()
        assert [answer.result().status for answer in answers] == [200] * 4
    server.stop()
    assert batches == [1, 3]


def test_a_token_guards_pictures_and_numbers(tmp_path):
    server = Running(tmp_path, token=TOKEN)
    try:
        for method, path in (("POST", "/predict"), ("GET", "/metrics"), ("GET", "/v1/models"), ("POST", "/v1/predict")):
            for headers in ({}, {"Token": "wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Token": "\xe9"}):
                found = server.ask(method, path, PICTURE if method == "POST" else None, **headers)
                assert (found.status, found.body["error"]["code"]) == (401, "UNAUTHORIZED")
        for headers in ({"Token": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}):
            assert server.ask("POST", "/predict", PICTURE, **headers).status == 200
            assert server.ask("GET", "/v1/models", **headers).status == 200
        assert server.ask("GET", "/health").status == 200
        assert 'id="token"' in server.ask("GET", "/").body
        assert TOKEN not in server.ask("GET", "/").body
    finally:
        server.stop()


def test_a_fault_of_the_model_is_an_answer_and_the_server_goes_on(tmp_path):
    server = Running(tmp_path)
    predict = server.engine._predictor._predict
    try:
        server.engine._predictor._predict = lambda images: 1 / 0
        found = server.ask("POST", "/predict", PICTURE)
        assert (found.status, found.body["error"]["code"]) == (500, "INTERNAL_ERROR")
        server.engine._predictor._predict = predict
        assert server.ask("POST", "/predict", PICTURE).status == 200
    finally:
        server.stop()


def start(folder, *options):
    """A server as a user starts it, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "segkit", "serve", str(folder), "--port", "0", "--device", "cpu", "--json", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return process, json.loads(line)


def post(port, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/predict", body)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_after_what_has_come(tmp_path, number):
    checkpoint(tmp_path / "runs/one/best.pt", card_of("maskrcnn"))
    process, about = start(tmp_path / "runs/one")
    assert about["model"] == "one"
    port = int(about["url"].rpartition(":")[2])
    with ThreadPoolExecutor(6) as clients:
        answers = [clients.submit(post, port, PICTURE) for _ in range(6)]
        answers[0].result()
        process.send_signal(number)
        for answer in answers:
            try:
                assert answer.result()[0] == 200
            except ConnectionError:  # it came after the signal
                continue
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "answers for one; stop it with Ctrl-C" in err


@pytest.mark.slow
def test_a_thousand_requests_from_eight_clients(tmp_path):
    """None is lost, all answers are the same, and memory stays as it is."""
    checkpoint(tmp_path / "runs/one/best.pt", card_of("unet"))
    process, about = start(tmp_path / "runs/one", "--score", "0.1")
    port = int(about["url"].rpartition(":")[2])
    own = psutil.Process(process.pid)
    resident = []

    def client(number):
        answers = []
        for _ in range(125):
            answers.append(post(port, PICTURE))
            if number == 0:
                resident.append(own.memory_info().rss)
        return answers

    try:
        with ThreadPoolExecutor(8) as clients:
            answers = [answer for each in clients.map(client, range(8)) for answer in each]
        assert len(answers) == 1000
        assert {status for status, _ in answers} == {200}
        assert len({len(json.loads(content)["instances"]) for _, content in answers}) == 1
        early, late = np.median(resident[25:50]), np.median(resident[100:])
        assert late - early < 24 * 1024**2, f"{(late - early) / 1024**2:.1f} MiB more after 400 requests"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
