"""Summaries of export and of its measurements -> tables, or JSON on stdout."""

from typing import TYPE_CHECKING

from segkit.commands.output import Output, shown, table_of
from segkit.units import counted, format_bytes

if TYPE_CHECKING:
    from segkit.exporting.bench import BenchSummary
    from segkit.exporting.export import ExportSummary
    from segkit.exporting.prune import PruneSummary

_RUNTIMES = {
    "onnx": "ONNX Runtime", "torchscript": "PyTorch (TorchScript)", "pt2": "PyTorch (torch.export)",
    "safetensors": "PyTorch", "openvino": "OpenVINO", "litert": "LiteRT", "tensorrt": "TensorRT",
}  # fmt: skip


def render_export(summary: "ExportSummary", output: Output) -> None:
    """How far the exported model differs from the original."""
    output.json(summary.to_json())
    table = table_of(
        f"maximum differences from the original, in {_RUNTIMES[summary.format]}",
        "image",
        "instances",
        "boxes",
        "scores",
        "masks",
    )
    for d in summary.differences:
        cells = (f"{value:.1e}" if value else "0" for value in (d.boxes, d.scores, d.masks))
        table.add_row(shown(d.picture), str(d.instances), *cells)
    if summary.differences:
        output.show(table)
    if summary.unjudged:
        names = shown(", ".join(summary.unjudged))
        output.note(f"not compared, as rounding alone changes the predictions there: {names}")
    if not summary.real_pictures:
        output.note(
            "warning: the run's dataset was not found; compared on synthetic images (name a dataset with --data)"
        )
    _note_changes(summary, output)
    output.note(f"wrote {shown(str(summary.out))} ({format_bytes(summary.size)}) from {shown(str(summary.source))}")


def _note_changes(summary: "ExportSummary", output: Output) -> None:
    """What was changed in the graph, and what it scores."""
    if summary.simplify and summary.nodes is None:
        output.note("warning: not simplified: the outputs of the simplified graph differ")
    if summary.nodes is not None:
        output.note(f"simplified: {summary.nodes[0]} nodes before, {summary.nodes[1]} after; outputs are equal")
    if summary.precision == "int8":
        left = f"; in 32 bits, as the score falls too much otherwise: {', '.join(summary.left_out)}"
        before = "; the differences above are those before that" if summary.differences else ""
        output.note(f"in 8 bits{left if summary.left_out else ''}{before}")
    if summary.score is not None:
        score, images = summary.score, counted(summary.score.images, "image", "images")
        output.note(f"{score.name} on {images}: {score.exported:.4f}, and {score.source:.4f} of the original")


def render_prune(summary: "PruneSummary", output: Output) -> None:
    """What a model takes before and after it was pruned, and how to go on."""
    output.json(summary.to_json())
    height, width = summary.image
    threads = counted(summary.threads, "thread", "threads")
    table = table_of(f"one image of {height}x{width} pixels on the CPU, {threads}", "", "before", "after", "ratio")
    before, after = summary.before, summary.after
    rows = (
        ("parameters", f"{before.parameters:,}", f"{after.parameters:,}", after.parameters / before.parameters),
        ("size", format_bytes(before.size), format_bytes(after.size), after.size / before.size),
        ("GFLOP", f"{before.flops / 1e9:.2f}", f"{after.flops / 1e9:.2f}", after.flops / max(before.flops, 1)),
        ("p50 ms", f"{before.p50:.1f}", f"{after.p50:.1f}", after.p50 / before.p50),
        ("p95 ms", f"{before.p95:.1f}", f"{after.p95:.1f}", after.p95 / before.p95),
    )
    for name, one, other, ratio in rows:
        table.add_row(name, one, other, f"{ratio:.2f}")
    table.add_row("zero", *(f"{each.zeros / each.parameters:.1%}" for each in (before, after)), "")
    output.show(table)
    if summary.unstructured:
        output.note("zeros are stored and multiplied as other weights are: neither size nor latency falls on a CPU")
    if (score := summary.score) is not None:
        images = counted(score.images, "image", "images")
        output.note(f"{score.name} on {images}: {score.exported:.4f}, and {score.source:.4f} before")
    output.note(f"wrote {shown(str(summary.out))} from {shown(str(summary.source))}")
    output.note(f"train it a little more before you use it: segkit train DATASET --weights {shown(str(summary.out))}")


def render_bench(summary: "BenchSummary", output: Output) -> None:
    """Latency, throughput and memory."""
    output = output.answering()
    output.json(summary.to_json())
    height, width = summary.image
    title = f"{shown(str(summary.model))}, {height}x{width} pixels, {summary.instances} instances"
    table = table_of(title, "threads", "batch", "p50 ms", "p95 ms", "images/s", "repetitions")
    for each in summary.timings:
        cells = (each.threads, each.batch, f"{each.p50:.1f}", f"{each.p95:.1f}", f"{each.images_per_second:.2f}")
        table.add_row(*map(str, cells), str(each.repetitions))
    output.show(table)
    said = (
        f"{format_bytes(summary.size)} on disk, {format_bytes(summary.resident)} resident in a process that predicts "
        f"one image at a time, {summary.load_seconds:.2f} s to load"
    )
    output.show(said)
    output.gist(said)
