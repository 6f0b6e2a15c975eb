"""An evaluation as one self-contained HTML page: no network, no scripts, every word from outside escaped."""

from collections.abc import Sequence
from html import escape
from typing import Any

from segkit.evaluate.analysis.details import Explanation
from segkit.evaluate.coco.inputs import Numbers
from segkit.evaluate.evaluated import Evaluated
from segkit.evaluate.metrics import InstanceMetrics, Metrics, SemanticMetrics
from segkit.evaluate.report import plots as figures
from segkit.evaluate.report.gallery import Exhibit, find, instance_exhibits, label_colours, pixel_exhibits
from segkit.progress import SILENT, Progress

_STYLE = """
:root { --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --pale: #f6f8fa }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 72rem; margin: 2rem auto; padding: 0 1.5rem }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem } p { margin: .4rem 0 }
.soft, figcaption { color: var(--soft) } .cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0 }
.card { background: var(--pale); border-radius: .5rem; padding: .7rem 1.1rem; min-width: 8.5rem }
.card b { display: block; font-size: 1.6rem; line-height: 1.25 } .card small { color: var(--soft); display: block }
.warn { border-left: .3rem solid #d98200; background: #fff8ec; padding: .5rem 1rem; margin: .5rem 0 }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #eaeef2; white-space: nowrap }
th { color: var(--soft); font-weight: 500; border-color: var(--line) } tr.all td { font-weight: 600 }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.2rem }
figure { margin: 0 } svg { width: 100%; height: auto }
img { max-width: 100%; max-height: 36rem; border-radius: .3rem; display: block }
.exhibit { margin: 1.2rem 0; break-inside: avoid } .exhibit > p { overflow-wrap: anywhere }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem; margin: 0 .3rem 0 .9rem }
dt { font-weight: 600 } dd { margin: 0 0 .5rem 0; color: var(--soft) }
"""
_TWELVE = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
_KINDS = (("segm", "masks"), ("bbox", "boxes"), ("boundary", "boundaries"))
_WORDS = (
    ("AP", "average precision: the area under precision over recall, averaged over overlaps (IoU) from 0.50 to 0.95 "
     "and over categories; COCO's own number, computed by COCO's own rules. AP50 and AP75: at one overlap only."),
    ("found, wrong, missed", "a prediction has found an instance of its category when the two overlap by half."),
    ("precision, recall, F1", "the share of predictions that are right; of instances that were found; and their "
     "harmonic mean. Best: at the score from which F1 is highest."),
    ("count error", "by how many the number of predictions in a picture is off, on average."),
    ("PQ", "panoptic quality: the overlap of what was found, less for everything wrong or missed (SQ times RQ)."),
    ("interval", "where the score would lie, 95 times in 100, for other pictures of this kind (bootstrap)."),
)  # fmt: skip


def render_report(
    evaluated: Evaluated, metrics: Metrics, explanation: Explanation | None, progress: Progress = SILENT
) -> str:
    """The page.

    Args:
        evaluated: What was evaluated.
        metrics: The numbers.
        explanation: The reasons behind instance scores; None where only pixels were scored.
        progress: Who is told how far it is.
    """
    progress.start("drawing the report", None)
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>segkit evaluation</title>",
        f"<meta name='viewport' content='width=device-width, initial-scale=1'><style>{_STYLE}</style></head><body>",
        f"<h1>Evaluation</h1><p class='soft'>{escape(evaluated.subject)}, {metrics.images} images</p>",
        _cards(metrics, explanation),
        *(f"<p class='warn'>{escape(warning)}</p>" for warning in metrics.warnings),
        _comparison(metrics.compare),
        _coco(metrics),
    ]
    if explanation is not None:
        parts += _instances(evaluated, explanation)
    if metrics.semantic is not None:
        parts += _pixels(evaluated, metrics.semantic)
    words = "".join(f"<dt>{word}</dt><dd>{meaning}</dd>" for word, meaning in _WORDS)
    parts.append(f"<h2>What the words mean</h2><dl>{words}</dl></body></html>\n")
    progress.done()
    return "\n".join(part for part in parts if part)


def _cards(metrics: Metrics, explanation: Explanation | None) -> str:
    cards = []
    intervals = (explanation.document["confidence"] or {}) if explanation is not None else {}
    for kind, what in _KINDS:
        part: InstanceMetrics | None = getattr(metrics, kind)
        if part is not None:
            sure = intervals if explanation is not None and explanation.kind == kind else {}
            cards.append((f"AP, {what}", _figure(part.AP), _between(sure.get("AP"))))
            cards.append((f"AP50, {what}", _figure(part.AP50), _between(sure.get("AP50"))))
    if explanation is not None and (best := explanation.document["overall"]["best"]):
        cards.append(("best F1", _figure(best["F1"]), f"from score {best['score']:.2f} on"))
        cards.append(("PQ", _figure(explanation.document["overall"]["PQ"]), f"from score {explanation.score:g} on"))
    if metrics.semantic is not None:
        s = metrics.semantic
        cards.append(("mIoU, pixels", _figure(s.mIoU), _between(s.mIoU_interval)))
        cards.append(("F1 (Dice), pixels", _figure(s.F1), ""))
        cards.append(("pixels right", f"{s.pixel_accuracy:.1%}", ""))
        if s.boundary_IoU is not None:
            cards.append(("boundary IoU", _figure(s.boundary_IoU), ""))
    inner = "".join(f"<div class='card'>{what}<b>{value}</b><small>{note}</small></div>" for what, value, note in cards)
    return f"<div class='cards'>{inner}</div>"


def _comparison(compare: dict[str, Any] | None) -> str:
    if compare is None:
        return ""
    rows = []
    for part, name in (("segm", "AP"), ("bbox", "AP"), ("semantic", "mIoU")):
        if found := compare.get(part):
            verdict = "hardly chance" if found["p"] < 0.05 else "may be chance"
            rows.append(
                [f"{name} ({part})", _figure(found[name]), _figure(found[f"other_{name}"]), f"{found['value']:+.3f}",
                 _between(found["interval"], signed=True), f"{found['p']:.3g}", verdict]
            )  # fmt: skip
    head = ["", "this", "other", "difference", "95 % interval", "p", ""]
    return f"<h2>Compared with {escape(compare['with'])}</h2>" + _table(head, rows)


def _coco(metrics: Metrics) -> str:
    rows = [
        [what, *(_figure(getattr(part, name)) for name in _TWELVE)]
        for kind, what in _KINDS
        if (part := getattr(metrics, kind)) is not None
    ]
    if not rows:
        return ""
    note = f"<p class='soft'>COCO's twelve numbers, computed by {escape(metrics.engine or '')}.</p>"
    return "<h2>COCO's numbers</h2>" + _table(["", *_TWELVE], rows) + note


def _instances(evaluated: Evaluated, explanation: Explanation) -> list[str]:
    assert evaluated.dataset is not None
    document, dataset = explanation.document, evaluated.dataset
    numbers = Numbers.of(dataset).images
    images = {numbers[image.id]: image for image in dataset.images}
    worst, best = instance_exhibits(explanation, images, dataset.images_dir)
    lost = sum(find(dataset.images_dir, image) is None for image in dataset.images)
    empty = (
        f"<p class='warn'>{lost} picture files are not where the data says, and stay grey: name their folder with "
        "--images-dir.</p>"
        if lost
        else ""
    )
    key = (
        "<p class='soft'><span class='key' style='background:rgb(46, 160, 67)'></span>found"
        "<span class='key' style='background:rgb(240, 150, 0)'></span>missed"
        "<span class='key' style='background:rgb(218, 54, 51)'></span>wrong, with the kind of mistake</p>"
    )
    return [
        "<h2>By category</h2>",
        _categories(evaluated.metrics, explanation),
        f"<p class='soft'>Counts, precision, recall, F1, PQ: of predictions from score {explanation.score:g} on.</p>",
        "<h2>Where the score is lost</h2>",
        f"<figure>{figures.mistake_costs(explanation)}</figure>",
        "<h2>Precision and recall</h2><div class='pair'>",
        f"<figure>{figures.precision_recall(explanation)}</figure>",
        f"<figure>{figures.over_scores(explanation)}</figure></div>",
        "<h2>What is taken for what</h2>",
        f"<figure>{figures.confusion(document['confusion']['categories'], document['confusion']['counts'])}</figure>",
        f"<p class='soft'>Predictions from score {explanation.score:g} on; shades are shares of a row.</p>",
        "<h2>Scores and sizes</h2><div class='pair'>",
        f"<figure>{figures.score_histogram(explanation)}</figure>",
        f"<figure>{figures.size_histogram(explanation)}</figure></div>",
        "<h2>The worst pictures</h2>",
        empty,
        key,
        *map(_exhibit, worst),
        "<h2>The best pictures</h2>" if best else "",
        *map(_exhibit, best),
    ]


def _categories(metrics: Metrics, explanation: Explanation) -> str:
    part: InstanceMetrics | None = getattr(metrics, explanation.kind)
    sure = (explanation.document["confidence"] or {}).get("per_category", {})
    head = ["category", "instances", "found", "predictions", "count error", "AP", "95 % interval", "AP50", "precision",
            "recall", "F1", "best F1", "from score", "PQ"]  # fmt: skip
    rows = []
    for name, figures_of in explanation.document["per_category"].items():
        ap = part.per_category.get(name, {}) if part is not None else {}
        rows.append(_counted(name, figures_of, ap.get("AP"), sure.get(name), ap.get("AP50")))
    whole = (explanation.document["confidence"] or {}).get("AP")
    overall = explanation.document["overall"]
    last = _counted("all", overall, part.AP if part else None, whole, part.AP50 if part else None)
    return _table(head, rows, last)


def _counted(name: str, counts: dict[str, Any], ap: float | None, sure: Any, ap50: float | None) -> list[str]:
    best = counts["best"] or {"F1": None, "score": None}
    return [
        name, str(counts["instances"]), str(counts["found"]), str(counts["predictions"]),
        f"{counts['count_error']:.2f}", _figure(ap), _between(sure),
        _figure(ap50), _figure(counts["precision"]), _figure(counts["recall"]), _figure(counts["F1"]),
        _figure(best["F1"]), "-" if best["score"] is None else f"{best['score']:.2f}", _figure(counts["PQ"]),
    ]  # fmt: skip


def _pixels(evaluated: Evaluated, semantic: SemanticMetrics) -> list[str]:
    columns = ("IoU", "F1", "precision", "recall", "boundary_IoU")
    rows = [
        [name, *(_figure(scores.get(column)) for column in columns), f"{int(scores['pixels'] or 0):,}"]
        for name, scores in semantic.per_category.items()
    ]
    parts = [
        "<h2>Pixels by category</h2>",
        _table(["category", *(c.replace("_", " ") for c in columns), "true pixels"], rows),
        f"<p class='soft'>Mean accuracy {_figure(semantic.mean_accuracy)}; IoU weighed by true pixels "
        f"{_figure(semantic.fwIoU)}.</p>",
    ]
    dataset, pixels = evaluated.dataset, evaluated.pixels
    if semantic.confusion is not None and dataset is not None:
        first = 1 if dataset.uncovered == "ignore" else 0
        names = ["background", *(category.name for category in dataset.categories)][first:]
        parts += [
            "<h2>Which pixels are taken for what</h2>",
            f"<figure>{figures.confusion(names, [row[first:] for row in semantic.confusion[first:]])}</figure>",
        ]
    if pixels is not None and dataset is not None:
        colours = label_colours(dataset)
        key = "".join(f"<span class='key' style='background:{css}'></span>{escape(name)}" for name, css in colours)
        parts += ["<h2>The worst pictures, by pixels</h2>", f"<p class='soft'>{key}</p>"]
        parts += map(_exhibit, pixel_exhibits(pixels.worst(), dataset))
        parts += ["<h2>The best pictures, by pixels</h2>"] if pixels.best() else []
        parts += map(_exhibit, pixel_exhibits(pixels.best(), dataset))
    return parts


def _exhibit(exhibit: Exhibit) -> str:
    panels = "".join(
        f"<figure><img src='data:image/jpeg;base64,{data}' alt='{title}' loading='lazy'>"
        f"<figcaption>{title}</figcaption></figure>"
        for title, data in exhibit.panels
    )
    name = escape(exhibit.name)
    words = f"<p><b>{name}</b> <span class='soft'>{exhibit.words}</span></p>"
    return f"<div class='exhibit'>{words}<div class='pair'>{panels}</div></div>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], last: Sequence[str] | None = None) -> str:
    titles = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    if last is not None:
        body += "<tr class='all'>" + "".join(f"<td>{escape(cell)}</td>" for cell in last) + "</tr>"
    return f"<div class='wide'><table><tr>{titles}</tr>{body}</table></div>"


def _figure(value: float | None) -> str:
    return "-" if value is None or value == -1 else f"{value:.3f}"


def _between(interval: Sequence[float] | None, *, signed: bool = False) -> str:
    if interval is None:
        return ""
    low, high = (f"{value:+.3f}" if signed else f"{value:.3f}" for value in interval)
    return f"{low} to {high}"
