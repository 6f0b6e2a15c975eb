"""What fits where -> a table on stderr, or JSON on stdout."""

from typing import TYPE_CHECKING, Any

from rich.markup import escape

from segkit.commands.output import Output, table_of
from segkit.units import format_bytes

if TYPE_CHECKING:
    from segkit.memprofile.fit import FitSummary

_TONES = {"fits": "green", "tight": "yellow", "does not fit": "red"}
_EVALUATING = "evaluating"
_PICTURES = ": it is the evaluation of whole pictures; cut those of the validation split into smaller ones"
_SHORT = {"fits": "fits", "tight": "tight", "does not fit": "no"}


def render_fit(summary: "FitSummary", output: Output) -> None:
    """The settings and what each needs, what takes the most, and the cheapest change for each card."""
    document = summary.document
    output.json(document)
    training = document["training"]
    gpus = f" on {training['gpus']} GPUs" if training["gpus"] > 1 else ""
    output.say(
        f"{training['model']} with {training['backbone']}, size {training['size']}, batch {training['batch']}{gpus}, "
        f"micro-batch {training['micro_batch']}, "
        f"{training['precision']}, {training['optimizer']}, {training['norm']} norm, {training['images']} images"
    )
    cards = [each["vram"] for each in document["vram"]]
    table = table_of("in GiB: first steps - at most", "setting", "tensors", "reserved", "needed", *map(_card, cards))
    for row in document["settings"]:
        verdicts = [row["verdicts"][str(card)]["verdict"] for card in cards]
        table.add_row(
            escape(row["options"]) or "as configured",
            *(_band(row[name]) for name in ("allocated", "reserved", "needed")),
            *(f"[{_TONES[verdict]}]{_SHORT[verdict]}[/{_TONES[verdict]}]" for verdict in verdicts),
        )
    output.stderr.print(table)
    output.say(f"what takes the most: {escape(document['binding']['text'])}")
    for warning in document["warnings"]:
        output.say(f"note: {escape(warning)}")
    output.say(escape(_overhead(document["overhead"])))
    for each in document["vram"]:
        tone = _TONES[each["verdict"]]
        output.say(f"[{tone}]{_card(each['vram'])}: {each['verdict']}[/{tone}], {escape(each['why'])}")
        if each["cheapest"] is not None:
            output.say(f"  this fits: {escape(each['cheapest']['command'])}")
        elif each["verdict"] != "fits":
            why = _PICTURES if document["binding"]["when"] == _EVALUATING else ""
            output.say(f"  no option that was tried makes it fit{why}")
    output.say(escape(str(summary.json_path)))


def _card(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"


def _band(band: dict[str, Any]) -> str:
    now, most = (f"{band[name] / 2**30:.2f}" for name in ("now", "at_most"))
    return most if now == most else f"{now} - {most}"


def _overhead(overhead: dict[str, Any]) -> str:
    fixed = format_bytes(overhead["fixed"])
    if not overhead["assumed"]:
        return f"needed: what the allocator can do with, and {fixed} beside it, as given with --overhead"
    return (
        f"needed: what the allocator can do with, {fixed} for driver and CUDA's context, and {overhead['share']:.0%} "
        "of the tensors for workspaces: assumed, not measured; give your card's own with --overhead SIZE"
    )
