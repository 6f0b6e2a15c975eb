"""``segkit label``."""

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.label import LabelConfig


@configured_by(LabelConfig)
def label(config: LabelConfig, output: Output) -> int:
    """Open LabelMe on a folder: to correct what predict wrote, then convert and train again.

    [bold]Example:[/bold]  segkit label predictions/labelme
    """
    from segkit.label import open_labelme

    return open_labelme(config)
