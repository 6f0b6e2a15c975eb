"""segkit's own training as a watched training: it names its phases and steps itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from segkit.memory.measure.meter import CounterMeter, StepRecord
from segkit.memory.session import Session


class SessionMeter:
    """A ``Meter`` (see ``segkit.memory.measure.meter``) that passes phases and steps on to a session as well."""

    def __init__(self, device: torch.device, session: Session) -> None:
        self._counters = CounterMeter(device)
        self._session = session
        self.device = device

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """See ``Meter``."""
        before = self._session.tensors.phase
        self._session.clock.enter(name)
        try:
            with self._counters.phase(name):
                yield
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)  # or the time would be that of launching kernels
        finally:
            self._session.clock.enter(before if before in ("eval", "save") else "load")

    def step(self, images: Sequence[str] = ()) -> StepRecord:
        """See ``Meter``."""
        record = self._counters.step()
        self._session.step(", ".join(images) or None)
        return record

    def rise(self) -> float | None:
        """See ``Meter``: None, as the session reports more."""
        return None

    def peaks(self) -> dict[str, int]:
        """See ``Meter``."""
        return self._counters.peaks()
