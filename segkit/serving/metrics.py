"""What a server counts, in Prometheus' text format."""

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ServerMetrics:
    """Requests by path and status, seconds by phase, pictures, batches, the queue, and resident memory."""

    def __init__(self) -> None:
        """Nothing is counted yet; each server has its own registry."""
        self.registry = CollectorRegistry()
        names = ["path", "status"]
        self.requests = Counter("segkit_requests", "Requests that were answered.", names, registry=self.registry)
        self.seconds = Histogram(
            "segkit_phase_seconds", "Seconds of a request: wait, decode, predict (of a batch), encode.", ["phase"],
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self.pictures = Counter("segkit_pictures", "Pictures that were predicted.", registry=self.registry)
        self.instances = Counter("segkit_instances", "Instances that were found.", registry=self.registry)
        self.batches = Counter("segkit_batches", "Forward passes.", registry=self.registry)
        self.queue = Gauge("segkit_queue", "Requests that wait.", registry=self.registry)
        memory = Gauge("segkit_resident_memory_bytes", "Resident memory of the server.", registry=self.registry)
        memory.set_function(lambda: float(psutil.Process().memory_info().rss))

    def text(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
