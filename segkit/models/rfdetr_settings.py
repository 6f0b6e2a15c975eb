"""What an RF-DETR-Seg is made with, in plain numbers, and the same as a configuration of transformers."""

from dataclasses import dataclass
from typing import Any

from segkit.choices import VariantName
from segkit.errors import InputError
from segkit.extras import extra_package

_EXTRA = "transformers"
_BUILT = (
    "hidden_expansion", "c2f_num_blocks", "activation_function", "decoder_activation_function", "attention_bias",
    "num_feature_levels", "layer_norm_eps", "segmentation_head_activation_function", "mlp_ratio", "hidden_act",
    "num_channels", "qkv_bias", "use_swiglu_ffn", "apply_layernorm",
)  # fmt: skip
"""What an ``RfDetrConfig`` may have otherwise than segkit builds it; a folder with such a network is refused."""


@dataclass(frozen=True, slots=True)
class RFDETRSettings:
    """Plain numbers of a network; those of ``nano`` by default.

    Attributes:
        grid_size: Side in pixels of the images that the position embeddings were made for; others are interpolated.
        num_windows: Windows to a side in which most layers of the feature extractor attend.
        decoder_layers: Layers of the decoder.
        num_queries: Instances that it can find in an image.
        patch_size: Side in pixels of the patches that the feature extractor sees an image in.
        hidden_size: Its width.
        num_hidden_layers: Its layers.
        num_attention_heads: Its heads.
        out_indices: The layers whose output is used, from 1.
        group_detr: Copies of the queries that are taught side by side (Group DETR).
        d_model: Width of the decoder.
        self_attention_heads: Its heads among queries.
        cross_attention_heads: Its heads over features.
        decoder_n_points: Points that each of these looks at.
        decoder_ffn_dim: Width of its perceptrons.
        intermediate_size: Width of that of the mask head.
        mask_stride: Pixels to a cell of a mask.
    """

    grid_size: int = 312
    num_windows: int = 1
    decoder_layers: int = 4
    num_queries: int = 100
    patch_size: int = 12
    hidden_size: int = 384
    num_hidden_layers: int = 12
    num_attention_heads: int = 6
    out_indices: tuple[int, ...] = (3, 6, 9, 12)
    group_detr: int = 13
    d_model: int = 256
    self_attention_heads: int = 8
    cross_attention_heads: int = 16
    decoder_n_points: int = 2
    decoder_ffn_dim: int = 2048
    intermediate_size: int = 1024
    mask_stride: int = 4

    @property
    def multiple(self) -> int:
        """What the side of the images that it sees must be a multiple of, in pixels."""
        return self.patch_size * self.num_windows

    def least_size(self) -> int:
        """The least side that gives it a patch for every query, in pixels."""
        size = self.multiple
        while (size // self.patch_size) ** 2 < self.num_queries:
            size += self.multiple
        return size


VARIANTS: dict[VariantName, RFDETRSettings] = {
    "nano": RFDETRSettings(),
    "small": RFDETRSettings(grid_size=384, num_windows=2),
    "medium": RFDETRSettings(grid_size=432, num_windows=2, decoder_layers=5, num_queries=200),
}
"""The published sizes; their weights are ``Roboflow/rf-detr-seg-NAME`` on the Hugging Face hub."""


def transformers(asked_by: str = "--model rfdetr") -> Any:
    """The package transformers.

    Raises:
        InputError: It is not installed.
    """
    return extra_package("transformers", asked_by, _EXTRA)


def configuration(settings: RFDETRSettings, num_labels: int) -> Any:
    """Transformers' configuration of a network, without what drops values at random.

    Args:
        settings: The numbers.
        num_labels: Rows of its layers of labels.
    """
    package, s = transformers(), settings
    body = package.RfDetrDinov2Config(
        image_size=s.grid_size, patch_size=s.patch_size, num_windows=s.num_windows, hidden_size=s.hidden_size,
        num_hidden_layers=s.num_hidden_layers, num_attention_heads=s.num_attention_heads,
        out_indices=list(s.out_indices), use_mask_token=False,
    )  # fmt: skip
    return package.RfDetrConfig(
        backbone_config=body, dropout=0.0, num_labels=num_labels, num_queries=s.num_queries, group_detr=s.group_detr,
        d_model=s.d_model, decoder_layers=s.decoder_layers, decoder_n_points=s.decoder_n_points,
        decoder_self_attention_heads=s.self_attention_heads, decoder_cross_attention_heads=s.cross_attention_heads,
        decoder_ffn_dim=s.decoder_ffn_dim, intermediate_size=s.intermediate_size, mask_downsample_ratio=s.mask_stride,
    )  # fmt: skip


def settings_of(config: Any, what: str) -> RFDETRSettings:
    """The numbers of transformers' configuration.

    Args:
        config: An ``RfDetrConfig``.
        what: Where it comes from, for errors.

    Raises:
        InputError: It has something that segkit does not build.
    """
    body = config.backbone_config
    settings = RFDETRSettings(
        grid_size=body.image_size, num_windows=body.num_windows, decoder_layers=config.decoder_layers,
        num_queries=config.num_queries, patch_size=body.patch_size, hidden_size=body.hidden_size,
        num_hidden_layers=body.num_hidden_layers, num_attention_heads=body.num_attention_heads,
        out_indices=tuple(body.out_indices), group_detr=config.group_detr, d_model=config.d_model,
        self_attention_heads=config.decoder_self_attention_heads,
        cross_attention_heads=config.decoder_cross_attention_heads, decoder_n_points=config.decoder_n_points,
        decoder_ffn_dim=config.decoder_ffn_dim, intermediate_size=config.intermediate_size,
        mask_stride=config.mask_downsample_ratio,
    )  # fmt: skip
    built = configuration(settings, config.num_labels)
    for ours, theirs in ((built, config), (built.backbone_config, body)):
        wanted = ours.to_dict()
        for name in _BUILT:
            if name in wanted and getattr(theirs, name) != wanted[name]:
                raise InputError(
                    f"{what}: its {name} is {getattr(theirs, name)!r}: segkit builds an RF-DETR with {wanted[name]!r}",
                    "use one of the published sizes: --variant nano, small or medium",
                )
    return settings
