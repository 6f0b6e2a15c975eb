"""Estimates of peak GPU memory -> a table or JSON on stdout."""

from typing import TYPE_CHECKING, Any

from segkit.commands.output import Output, shown, table_of
from segkit.units import format_bytes

if TYPE_CHECKING:
    from segkit.memprofile.estimate import MemoryEstimate

_TONES = {"fits": "green", "tight": "yellow", "does not fit": "red"}
_EVALUATING = "evaluating"
_PICTURES = ": the peak is in the evaluation of whole images; cut the images of the validation split into tiles"
_SHORT = {"fits": "fits", "tight": "tight", "does not fit": "no"}


def render_fit(summary: "MemoryEstimate", output: Output) -> None:
    """What each setting needs, the largest part of it, and the cheapest change that fits each GPU."""
    document, output = summary.document, output.answering()
    output.json(summary.to_json())
    training = document["training"]
    gpus = f" on {training['gpus']} GPUs" if training["gpus"] > 1 else ""
    output.show(
        f"{training['model']} with {training['backbone']}, size {training['size']}, batch {training['batch']}{gpus}, "
        f"micro-batch {training['micro_batch']}, "
        f"{training['precision']}, {training['optimizer']}, {training['norm']} norm, {training['images']} images"
    )
    sizes = [each["vram"] for each in document["vram"]]
    table = table_of("GiB, first steps - upper bound", "setting", "tensors", "reserved", "needed", *map(_gib, sizes))
    for row in document["settings"]:
        verdicts = [row["verdicts"][str(size)]["verdict"] for size in sizes]
        table.add_row(
            shown(row["options"]) or "as configured",
            *(_band(row[name]) for name in ("allocated", "reserved", "needed")),
            *(f"[{_TONES[verdict]}]{_SHORT[verdict]}[/{_TONES[verdict]}]" for verdict in verdicts),
        )
    output.show(table)
    output.show(f"largest part: {shown(document['binding']['text'])}")
    for warning in document["warnings"]:
        output.show(f"note: {shown(warning)}")
    output.show(shown(_overhead(document["overhead"])))
    for each in document["vram"]:
        tone = _TONES[each["verdict"]]
        verdict = f"[{tone}]{_gib(each['vram'])}: {each['verdict']}[/{tone}], {shown(each['why'])}"
        output.show(verdict)
        output.gist(verdict)
        if each["cheapest"] is not None:
            output.show(f"  this fits: {shown(each['cheapest']['command'])}")
        elif each["verdict"] != "fits":
            why = _PICTURES if document["binding"]["when"] == _EVALUATING else ""
            output.show(f"  none of the options that were tried makes it fit{why}")
    output.note(shown(str(summary.json_path)))


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"


def _band(band: dict[str, Any]) -> str:
    now, most = (f"{band[name] / 2**30:.2f}" for name in ("now", "at_most"))
    return most if now == most else f"{now} - {most}"


def _overhead(overhead: dict[str, Any]) -> str:
    fixed = format_bytes(overhead["fixed"])
    if overhead["gpu"] is not None:
        return (
            f"needed: the least that the allocator can work with, {fixed} for driver, CUDA context and workspaces, and "
            f"{overhead['share']:.1%} of the tensors (measured on {overhead['gpu']})"
        )
    if not overhead["assumed"]:
        return f"needed: the least that the allocator can work with, and {fixed} as given with --overhead"
    return (
        f"needed: the least that the allocator can work with, {fixed} for driver and CUDA context, and "
        f"{overhead['share']:.0%} of the tensors for workspaces (assumed; to measure your GPU once: --fit --calibrate)"
    )
