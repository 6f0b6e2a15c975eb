"""What a U-Net is made with, besides its layers."""

from dataclasses import dataclass

from segkit.choices import InstancesName


@dataclass(frozen=True, slots=True)
class UnetSettings:
    """How a U-Net makes instances of its label map, and how it learns.

    Attributes:
        instances: ``components``: connected ones of each label; ``distance``: those come apart where the predicted
            distances from the edge have several peaks (``segkit.data.touching``).
        class_weights: How much each label counts in the loss, background first; None: all alike.
        label_smoothing: Of cross entropy.
    """

    instances: InstancesName = "components"
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
