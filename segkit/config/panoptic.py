"""Options of ``segkit train`` for a model that finds things and stuff."""

from dataclasses import dataclass

from segkit.config.fields import CommandConfig, option
from segkit.config.parsers import parse_names, parse_weight_or_uncertainty
from segkit.errors import ConfigError

_PANEL = "Panoptic"


@dataclass(frozen=True, kw_only=True, slots=True)
class PanopticConfig(CommandConfig):
    """Which categories are stuff, and how the losses of both tasks are weighed; ``TrainConfig`` has all the others."""

    stuff: tuple[str, ...] | None = option(
        None, help="Categories of --model panoptic that are stuff: regions without instances, such as sky and road. "
        "All others are things.",
        parse=parse_names, metavar="NAME,...", panel=_PANEL,
    )  # fmt: skip
    semantic_weight: float | str | None = option(
        None, help="Weight of the loss of stuff, beside 1 for that of instances; uncertainty: both weights are "
        "learnt.  [default: 0.5]",
        parse=parse_weight_or_uncertainty, metavar="X|uncertainty", panel=_PANEL,
    )  # fmt: skip

    def check_stuff(self, needed: bool) -> None:
        """Check that stuff is named where the model finds some.

        Args:
            needed: Whether it does.

        Raises:
            ConfigError: It is not.
        """
        if needed and not self.stuff:
            raise ConfigError(
                "--model panoptic: which categories are stuff (regions without instances) is not said",
                "name them: --stuff sky,road; if there are none, use --model maskrcnn",
            )
        if isinstance(self.semantic_weight, int | float) and self.semantic_weight <= 0:
            raise ConfigError(f"--semantic-weight {self.semantic_weight}: must be more than 0")
