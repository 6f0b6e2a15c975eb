"""Requests, checked: every fault is a status of 4xx with a code and a reason."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pybase64
from starlette.requests import ClientDisconnect, Request

_DEFAULT_EPSILON = 0.001  # as X-AnyLabeling sends it


class BadRequestError(Exception):
    """A request that cannot be answered.

    Attributes:
        status: The HTTP status.
        code: A word for programs.
        reason: A sentence for people.
    """

    def __init__(self, status: int, code: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.code, self.reason = status, code, reason


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for: the least score by category id, and how much outlines are simplified."""

    scores: dict[int, float]
    epsilon: float = 0.0


class _Remote(msgspec.Struct):
    model: str
    image: str
    params: dict[str, Any] | None = None


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request; one that is too large is not read to its end.

    Raises:
        BadRequestError: It is larger than ``most`` bytes, or its sender has gone.
    """
    too_large = BadRequestError(413, "BODY_TOO_LARGE", f"the body has more than {most} bytes")
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared) > most:
        raise too_large
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise too_large
            parts.append(part)
    except ClientDisconnect:
        raise BadRequestError(400, "DISCONNECTED", "the sender has gone before the end of the body") from None
    return b"".join(parts)


def picture_of_body(body: bytes) -> bytes:
    """A body that is a picture.

    Raises:
        BadRequestError: It is empty.
    """
    if not body:
        raise BadRequestError(400, "INVALID_IMAGE", "the body is empty: send the bytes of an image file")
    return body


def remote_request(body: bytes) -> tuple[str, bytes, dict[str, Any]]:
    """The model, the picture and the parameters of a request of X-AnyLabeling.

    Raises:
        BadRequestError: It is not JSON with these fields, or the picture is not base64.
    """
    try:
        asked = msgspec.json.decode(body, type=_Remote)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(400, "INVALID_REQUEST", f"the body is not the JSON of a request: {error}") from None
    text = asked.image.partition(",")[2] if asked.image.startswith("data:") else asked.image
    try:
        picture = pybase64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadRequestError(400, "INVALID_IMAGE", f"image is not base64: {error}") from None
    if not picture:
        raise BadRequestError(400, "INVALID_IMAGE", "image is empty")
    return asked.model, picture, asked.params or {}


def read_params(params: Mapping[str, Any], scores: Mapping[int, float], names: Mapping[int, str]) -> Asked:
    """What a request asks for; parameters that segkit does not know are passed over, as clients send many.

    Args:
        params: As sent: ``conf_threshold`` or ``score``, ``filter_classes`` or ``categories``, ``epsilon_factor``.
        scores: The least scores where the request does not say.
        names: Category names by id.

    Raises:
        BadRequestError: One has a wrong value.
    """
    kept = dict(scores)
    for name in ("conf_threshold", "score"):
        if (value := params.get(name)) is not None:
            kept = dict.fromkeys(kept, _share(name, value))
    for name in ("filter_classes", "categories"):
        if wanted := params.get(name):
            listed = wanted.split(",") if isinstance(wanted, str) else wanted
            if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
                raise BadRequestError(400, "INVALID_PARAMS", f"{name}: must be a list of names")
            if unknown := sorted(set(listed) - set(names.values())):
                raise BadRequestError(400, "INVALID_PARAMS", f"{name}: the model has no category {unknown[0]!r}")
            kept = {number: score for number, score in kept.items() if names[number] in listed}
    epsilon = params.get("epsilon_factor")
    return Asked(kept, _DEFAULT_EPSILON if epsilon is None else _share("epsilon_factor", epsilon))


def _share(name: str, value: Any) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise BadRequestError(400, "INVALID_PARAMS", f"{name}: {value!r} is not a number from 0 to 1")
    return number
