"""For the tests of ``segkit serve``: a server in a thread, and the picture that it is asked about."""

import http.client
import io
import json
import signal
import threading
from types import SimpleNamespace

import pytest
from drawn_discs import disc_model, draw_discs
from PIL import Image

from segkit.config.serve import ServeConfig

TOKEN = "a-long-secret"
DISCS = [(20, 20, 10, 1), (60, 25, 12, 2), (85, 60, 8, 1)]


def encoded(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


PICTURE = encoded(draw_discs(80, 100, DISCS))


class Running:
    """A server in a thread, on a free port."""

    def __init__(self, folder, **options):
        from segkit.serving import server as serving

        self.config = ServeConfig(model=folder / "runs/discs/best.pt", port=0, device="cpu", **options)
        (folder / "runs/discs").mkdir(parents=True, exist_ok=True)
        model = disc_model(folder / "runs/discs/best.pt")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(serving, "load", lambda *_, **__: model)
            self.engine, self.name = serving.start_engine(self.config)
        self.socket = serving._listen(self.config)
        self.port = self.socket.getsockname()[1]
        self.app = serving.make_app(self.engine, self.name, self.config.token, self.config.max_body)
        self.server = serving.Server(self.app)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.thread.start()
        assert self.server.up.wait(30)

    def stop(self):
        self.server.ask_to_stop(signal.SIGTERM, None)
        self.thread.join(30)
        self.engine.stop()
        self.socket.close()
        assert not self.thread.is_alive()

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        is_json = response.headers["Content-Type"].startswith("application/json")
        return SimpleNamespace(
            status=response.status, headers=response.headers, body=json.loads(content) if is_json else content.decode()
        )
