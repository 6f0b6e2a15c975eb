"""The HTTP application: paths, limits, the token, and errors as JSON with a reason (docs/serve.md)."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from segkit.errors import DeviceError, InputError
from segkit.serving.answers import instances_of, shapes_of
from segkit.serving.engine import Answer, BusyError, Engine, TooLargeError
from segkit.serving.requests import Asked, BadRequestError, picture_of_body, read_body, read_params, remote_request
from segkit.version import __version__

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined
)
_OPEN = ("/", "/health")  # without a token: they tell nothing of pictures
_RETRY_SECONDS = "1"
Handler = Callable[[Request], Awaitable[Response]]


def make_app(engine: Engine, model_id: str, token: str | None, max_body: int) -> Starlette:
    """The application.

    Args:
        engine: Answers requests.
        model_id: What clients call the model.
        token: The secret that requests must carry; None: none.
        max_body: Bytes of a request at most.
    """
    server = _Server(engine, model_id, token, max_body)
    routes: list[tuple[str, str, Handler]] = [
        ("GET", "/", server.page),
        ("GET", "/health", server.health),
        ("GET", "/metrics", server.metrics),
        ("POST", "/predict", server.predict),
        ("GET", "/v1/models", server.models),
        ("GET", "/v1/models/{model}/info", server.model_info),
        ("POST", "/v1/predict", server.remote_predict),
    ]
    return Starlette(
        routes=[Route(path, server.checked(path, handler), methods=[method]) for method, path, handler in routes],
        exception_handlers={HTTPException: server.refused, Exception: server.failed},
    )


class _Server:
    """The answers."""

    def __init__(self, engine: Engine, model_id: str, token: str | None, max_body: int) -> None:
        self._engine, self._id, self._token, self._max_body = engine, model_id, token, max_body
        self._card = engine.task.model.card
        self._names = {category.id: category.name for category in self._card.categories}

    def checked(self, path: str, handler: Handler) -> Handler:
        """A handler that asks for the token, counts, and turns errors into answers."""

        async def handle(request: Request) -> Response:
            response = self._unauthorised(request) if path not in _OPEN else None
            if response is None:
                response = await self._answered(handler, request)
            self._engine.metrics.requests.labels(path, str(response.status_code)).inc()
            return response

        return handle

    async def _answered(self, handler: Handler, request: Request) -> Response:
        try:
            return await handler(request)
        except BadRequestError as error:
            return _error(error.status, error.code, error.reason)
        except TooLargeError as error:
            return _error(413, "PICTURE_TOO_LARGE", error.message)
        except InputError as error:
            return _error(400, "INVALID_IMAGE", error.message)
        except BusyError:
            return _busy()
        except DeviceError as error:
            return _error(507, "OUT_OF_MEMORY", error.message)

    def _unauthorised(self, request: Request) -> Response | None:
        if self._token is None:
            return None
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = request.headers.get("token") or (bearer.strip() if scheme.lower() == "bearer" else "")
        if hmac.compare_digest(given.encode(), self._token.encode()):
            return None
        return _error(
            401, "UNAUTHORIZED", "the header Token, or Authorization: Bearer, does not hold the server's token"
        )

    async def page(self, request: Request) -> Response:
        """The page to try the model on a picture."""
        text = _TEMPLATES.get_template("page.html").render(
            model=self._id, categories=list(self._names.values()), needs_token=self._token is not None
        )
        return HTMLResponse(text)

    async def health(self, request: Request) -> Response:
        """Whether the server is up."""
        return JSONResponse({"status": "healthy", "models_loaded": 1, "version": __version__})

    async def metrics(self, request: Request) -> Response:
        """Numbers for Prometheus."""
        return Response(self._engine.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def predict(self, request: Request) -> Response:
        """Segkit's own API: a picture as the body, instances as the answer."""
        asked = read_params(dict(request.query_params), self._engine.task.choice.scores, self._names)
        body = await read_body(request, self._max_body)
        answer = await self._ask(picture_of_body(body), asked)
        return _json(instances_of(answer, self._names))

    async def models(self, request: Request) -> Response:
        """X-AnyLabeling: the models of the server."""
        return JSONResponse({"success": True, "data": {self._id: self._about()}})

    async def model_info(self, request: Request) -> Response:
        """X-AnyLabeling: one of them."""
        self._check_model(request.path_params["model"])
        return JSONResponse({"success": True, "data": {"model_id": self._id, **self._about()}})

    async def remote_predict(self, request: Request) -> Response:
        """X-AnyLabeling: the shapes of a picture."""
        model, picture, params = remote_request(await read_body(request, self._max_body))
        self._check_model(model)
        asked = read_params(params, self._engine.task.choice.scores, self._names)
        answer = await self._ask(picture, asked)
        shapes = shapes_of(answer, self._names, asked.epsilon)
        return _json({"success": True, "data": {"shapes": shapes, "description": ""}})

    async def _ask(self, picture: bytes, asked: Asked) -> Answer:
        return await asyncio.wrap_future(self._engine.ask(picture, asked.scores))

    def _about(self) -> dict[str, Any]:
        """What a client shows of the model: its name, and the controls that act on it."""
        scores = self._engine.task.choice.scores.values()
        controls = {
            "button_run": None,
            "input_conf": None,
            "edit_conf": round(min(scores, default=0.0), 2),
            "mask_fineness_slider": 10,
            "mask_fineness_value_label": None,
            "toggle_preserve_existing_annotations": False,
        }
        return {
            "display_name": f"segkit {self._id}",
            "batch_processing_mode": "default",
            "classes": list(self._names.values()),
            "widgets": [{"name": name, "value": value} for name, value in controls.items()],
        }

    def _check_model(self, name: str) -> None:
        if name != self._id:
            raise BadRequestError(404, "MODEL_NOT_FOUND", f"there is no model {name!r}: this server has {self._id!r}")

    async def refused(self, request: Request, error: Exception) -> Response:
        """Paths and methods that there are not."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(status, "REFUSED")
        self._engine.metrics.requests.labels("other", str(status)).inc()
        return _error(status, code, f"{request.method} {request.url.path}: see docs/serve.md for the paths")

    async def failed(self, request: Request, error: Exception) -> Response:
        """A fault of segkit: the server goes on."""
        return _error(500, "INTERNAL_ERROR", f"{type(error).__name__}: {error}")


def _json(document: Any) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"success": False, "error": {"code": code, "message": message}}, status)


def _busy() -> Response:
    response = _error(503, "BUSY", f"too many requests wait: try again in {_RETRY_SECONDS} s")
    response.headers["Retry-After"] = _RETRY_SECONDS
    return response
