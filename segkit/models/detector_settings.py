"""What a detector is made with, in plain numbers."""

from dataclasses import dataclass

from segkit.choices import HeadsName, MaskHeadName, NormName


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Plain numbers of a detector.

    The defaults are torchvision's, except ``before_nms``; cards of an older segkit have no others.

    Attributes:
        proposals: Regions per image that come out of the RPN in training.
        rois: Regions per image that the heads are trained on.
        detections: Instances per image at most.
        anchor_sizes: Side of the anchors of each level of the pyramid and the one above, in pixels.
        test_proposals: The same in evaluation; 0: half as many as in training, and at least as many as ``detections``.
        aligned_masks: Masks are taught and read with pixels at their centres. torchvision teaches them half a pixel
            aside, and lays them into boxes that are a pixel wider on average: its heads, and segkit's before, were
            trained so.
        head_norm: The norm in the pyramid and the heads of torchvision's second version (``v2``); None: the first,
            which has none there.
        anchor_ratios: Height by width of the anchors of each size.
        fpn_levels: Levels of the pyramid, one after the other; the stride of level n is 2 to the power of n.
        roi_size: Rows and columns that the box head gets of a region; the mask head gets twice as many.
        roi_sampling: Points in each direction that a cell of a region is the mean of.
        nms: Of two detections of a category with a higher IoU, one is dropped.
        before_nms: Anchors of a level that may become proposals, in training, and half of it in evaluation; 0: twice
            ``proposals``, as an older segkit had it. torchvision has 2000, as many as proposals.
        mask_head: What predicts the masks of Mask R-CNN.
        mask_size: Rows and columns of a predicted mask in its box; 0: as many as the mask head has, which for ``conv``
            are 28.
    """

    proposals: int = 2000
    rois: int = 512
    detections: int = 100
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)
    test_proposals: int = 0
    aligned_masks: bool = False
    head_norm: NormName | None = None
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    fpn_levels: tuple[int, ...] = (2, 3, 4, 5)
    roi_size: int = 7
    roi_sampling: int = 2
    nms: float = 0.5
    before_nms: int = 0
    mask_head: MaskHeadName = "conv"
    mask_size: int = 0

    @property
    def heads(self) -> HeadsName:
        """The version of torchvision's pyramid and heads."""
        return "v1" if self.head_norm is None else "v2"
