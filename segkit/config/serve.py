"""Options of ``segkit serve``."""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from segkit.config.fields import CommandConfig, argument, option
from segkit.config.parsers import parse_size
from segkit.config.predict import DEFAULT_SCORE, PredictConfig, parse_score
from segkit.errors import ConfigError

_LIMITS = "Limits"
_LEAST_TOKEN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig(CommandConfig):
    """Options of a server."""

    model: Path | None = argument(None, help="A run, a checkpoint or an exported file.  [default: runs/latest]",
                                  metavar="RUN", complete="model")  # fmt: skip
    host: str = option("127.0.0.1", help="Address to listen on; others than this computer's own need --token.")
    port: int = option(8000, help="Port to listen on; 0: any that is free.", min=0, max=65535)
    token: str | None = option(
        None, help="Secret that requests must carry, as the header Token, or Authorization: Bearer.",
    )  # fmt: skip
    score: float | str = option(
        DEFAULT_SCORE, help="Leave out instances with a lower confidence, where a request does not say: as predict.",
        parse=parse_score, metavar="SCORE",
    )  # fmt: skip
    batch: int = option(4, help="Images per forward pass, of requests that wait at the same time.", min=1, max=1024)
    queue: int = option(
        32, help="Requests that wait at most; more get the answer busy (503).", min=1, max=10_000, panel=_LIMITS
    )
    max_body: int = option(
        32 * 1024**2, help="Largest body of a request.  [default: 32MiB]", parse=parse_size, metavar="SIZE",
        panel=_LIMITS,
    )  # fmt: skip
    max_pixels: int = option(
        50_000_000, help="Most pixels of a picture, height x width.", min=1, max=2**30, panel=_LIMITS
    )
    device: str = option("auto", help="Device: auto, cpu, cuda, cuda:1.", complete=("auto", "cpu", "cuda"))
    trust: bool = option(
        False, help="Run an exported file that is a program (TorchScript, PT2): only if you know who made it."
    )

    def _check(self) -> None:
        if self.token is not None and (len(self.token) < _LEAST_TOKEN or not self.token.isprintable()
                                       or not self.token.isascii() or " " in self.token):  # fmt: skip
            raise ConfigError(
                f"--token: must have at least {_LEAST_TOKEN} letters and digits, without spaces",
                'make one: python -c "import secrets; print(secrets.token_urlsafe())"',
            )
        if not self.is_local and self.token is None:
            raise ConfigError(
                f"--host {self.host}: everybody in the network could use the server",
                "name a secret with --token, or listen on this computer only: --host 127.0.0.1",
            )

    @property
    def is_local(self) -> bool:
        """Whether only programs on this computer can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def predict_config(self) -> PredictConfig:
        """The options of the predictions."""
        return PredictConfig(source=["-"], model=self.model, score=self.score, batch=self.batch, device=self.device)
