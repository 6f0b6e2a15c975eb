"""Write docs/cli.md from the config records, so that it cannot go stale: ``python docs/make_cli.py``."""

from dataclasses import MISSING
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from segkit.config.convert import ConvertConfig
from segkit.config.evaluate import EvalConfig
from segkit.config.export import ExportConfig
from segkit.config.fields import declaration_of, flag_of, options_of
from segkit.config.label import LabelConfig
from segkit.config.memprofile import MemprofileConfig
from segkit.config.parsers import to_toml
from segkit.config.predict import PredictConfig
from segkit.config.train import TrainConfig

PAGE = Path(__file__).with_name("cli.md")
COMMANDS = {
    "convert": (
        ConvertConfig,
        "Annotations in any format to a dataset in any other, with a report of everything that was lost.",
    ),
    "train": (TrainConfig, "A dataset to a run: Mask R-CNN, Faster R-CNN or U-Net."),
    "eval": (EvalConfig, "The score of a model, or of any tool's COCO results."),
    "predict": (PredictConfig, "Pictures to overlays, COCO results, LabelMe files, masks, measurements."),
    "memprofile": (
        MemprofileConfig,
        "Where the memory of a training step goes, whether it stays there, and on which cards it fits.",
    ),
    "export": (ExportConfig, "A model in a format that runs elsewhere, compared with its source first."),
    "label": (LabelConfig, "LabelMe, opened on a folder with the dataset's labels."),
}
_INTRODUCTION = """# The command line

Made from the code by `python docs/make_cli.py`. Every command also has `--config FILE.toml` (option values; flags win
over it), `--json` (one JSON document on stdout; `predict`: a line a picture), `--quiet`, and `--help`. Durations take
units (`30s`, `2h`).

Exit codes: 0 done, 1 something is wrong with the input, 2 wrong usage, 3 done but with findings that were asked to
count (`--strict`, a leak), 4 does not fit, 5 too few steps to say, 130 interrupted.
"""


def render() -> str:
    """The page."""
    parts = [_INTRODUCTION]
    for name, (record, what) in COMMANDS.items():
        hints = get_type_hints(record)
        arguments = [f for f in options_of(record) if declaration_of(f).argument]
        usage = " ".join(_usage(f) for f in arguments)
        parts.append(f"## segkit {name} {usage}\n\n{what}\n\n| option | meaning | default |\n|---|---|---|")
        parts += [_row(f, hints[f.name]) for f in options_of(record) if not declaration_of(f).after_separator]
        parts.append("")
    return "\n".join(parts)


def _usage(each: Any) -> str:
    name = declaration_of(each).metavar or each.name
    return name if each.default is MISSING else f"[{name}]"


def _row(each: Any, hint: Any) -> str:
    declared = declaration_of(each)
    flag = flag_of(each).replace("|", "\\|")
    text, _, default = declared.help.partition("[default:")
    if default:
        default = default.strip(" ]")
    elif each.default is not MISSING and each.default is not None and hint is not bool:
        default = str(to_toml(each.default))
    choices = [value for kind in (hint, *get_args(hint)) if get_origin(kind) is Literal for value in get_args(kind)]
    if choices:
        flag += " " + "\\|".join(choices)
    elif declared.metavar and not declared.argument:
        flag += " " + declared.metavar.replace("|", "\\|")
    return f"| `{flag}` | {text.strip().replace('|', '/')} | {default} |"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
