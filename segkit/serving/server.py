"""``segkit serve``: the socket, the server on it, and its end."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from segkit.config.serve import ServeConfig
from segkit.data.files import checksum
from segkit.errors import InputError
from segkit.inference.journal import Origin
from segkit.inference.load import Task
from segkit.inference.model import load
from segkit.inference.thresholds import choice_of, score_used
from segkit.progress import SILENT, Progress
from segkit.runs.folder import LATEST
from segkit.runtime.memory_errors import reraise_out_of_memory
from segkit.runtime.signals import asking_signals, signal_handlers
from segkit.serving.app import make_app
from segkit.serving.engine import Engine

_SECONDS_TO_END = 30


def serve(
    config: ServeConfig, listening: Callable[[str, str], None] = lambda url, model: None, progress: Progress = SILENT
) -> None:
    """Answer requests until a signal asks to stop; those that came before it are answered.

    Args:
        config: The options.
        listening: Called with the address and the name of the model when requests can come.
        progress: Shows what is to be said of the model.

    Raises:
        InputError: There is no such model, or the address is in use.
    """
    with contextlib.closing(_listen(config)) as listener, reraise_out_of_memory("try --device cpu"):
        engine, model_id = start_engine(config, progress)
        try:
            app = make_app(engine, model_id, config.token, config.max_body)
            server = Server(app, lambda: listening(_url(config, listener), model_id))
            with signal_handlers(dict.fromkeys(asking_signals(), server.ask_to_stop)):
                server.run(sockets=[listener])
        finally:
            engine.stop()


def start_engine(config: ServeConfig, progress: Progress = SILENT) -> tuple[Engine, str]:
    """Load the model; what clients call it is the name of its run, or of its file.

    Raises:
        InputError: There is no such model.
    """
    model = load(config.model, config.device, trust=config.trust)
    for note in model.notes:
        progress.note(note)
    predict = config.predict_config()
    choice = choice_of(predict, model.card.categories, model.path)
    origin = Origin(model.path.resolve(), checksum(model.path), score_used(predict, choice))
    path = model.path.resolve()
    is_run = path.parent.name not in ("", LATEST) and path.suffix == ".pt"
    engine = Engine(Task(model, predict, choice, origin), config.batch, config.queue, config.max_pixels, progress)
    return engine, path.parent.name if is_run else path.name


class Server(uvicorn.Server):
    """Uvicorn's server, with the signal handlers of segkit.

    Args:
        app: The application.
        started: Called when requests can come.
    """

    def __init__(self, app: Starlette, started: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=_SECONDS_TO_END,
            )
        )
        self._listening = started
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that requests can come."""
        await super().startup(sockets)
        self._listening()
        self.up.set()

    def ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: what has come is answered first; at the second signal it is not."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the handlers as they are: ``segkit.runtime.signals`` has installed them."""
        yield


def _listen(config: ServeConfig) -> socket.socket:
    """The socket.

    Raises:
        InputError: The address is in use, or is none of this computer.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a computer, such as one of 5000 letters
        why = getattr(error, "strerror", None) or "no name or address of a computer"
        raise InputError(f"--host {config.host}: {why}", "name an address of this computer") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        where = f"{config.host}:{config.port}"
        raise InputError(f"{where}: {error.strerror or error}", "choose another --port, or 0 for any") from None
    return listener


def _url(config: ServeConfig, listener: socket.socket) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{listener.getsockname()[1]}"
