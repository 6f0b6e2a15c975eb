"""What is read at the end of every step."""

from dataclasses import dataclass

from segkit.memory.measure.phases import PhaseRecord


@dataclass(frozen=True, slots=True)
class Sample:
    """What was read at the end of a step; bytes, None where there is no such figure."""

    seconds: float
    allocated: int
    peak: int
    reserved: int | None
    driver: int | None  # in use on the device by the driver's account; asked now and then
    pinned: int | None
    tensors: int  # in the host's memory
    rss: int
    malloc: int | None
    retained: int | None
    blocks: int
    elements: int
    instances: int
    phases: dict[str, PhaseRecord]
    name: str | None = None
