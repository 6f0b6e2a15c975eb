"""What a detector is made with, in plain numbers."""

from dataclasses import dataclass

from segkit.choices import HeadsName, NormName


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Plain numbers of a detector; the defaults are torchvision's.

    Attributes:
        proposals: Regions per image that come out of the RPN in training.
        rois: Regions per image that the heads are trained on.
        detections: Instances per image at most.
        anchor_sizes: Side of the anchors at strides 4, 8, 16, 32 and 64, in pixels.
        test_proposals: The same in evaluation; 0: half as many as in training, and at least as many as ``detections``.
        aligned_masks: Masks are taught and read with pixels at their centres. torchvision teaches them half a pixel
            aside, and lays them into boxes that are a pixel wider on average: its heads, and segkit's before, were
            trained so.
        head_norm: The norm in the pyramid and the heads of torchvision's second version (``v2``); None: the first,
            which has none there.
    """

    proposals: int = 2000
    rois: int = 512
    detections: int = 100
    anchor_sizes: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)
    test_proposals: int = 0
    aligned_masks: bool = False
    head_norm: NormName | None = None

    @property
    def heads(self) -> HeadsName:
        """The version of torchvision's pyramid and heads."""
        return "v1" if self.head_norm is None else "v2"
