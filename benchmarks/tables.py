"""What several rounds of a comparison printed -> Markdown, with median and range where rounds differ.

A script prints Markdown tables, JSON documents (one a line) or plain lines. Tables stay tables, documents of the same
keys become one, and plain lines become a list.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from statistics import median
from typing import Any

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*\d)")
# A number, or one with the range that a script printed itself.
SPREAD = re.compile(rf"({NUMBER.pattern}) \(({NUMBER.pattern}) to ({NUMBER.pattern})\)|{NUMBER.pattern}")


def matched(rounds: Sequence[Sequence[str]]) -> dict[tuple[str, int], list[str]]:
    """The lines that all rounds have but for their numbers, by their words and how many such lines came before."""
    found: dict[tuple[str, int], list[str]] = {}
    for lines in rounds:
        for key, line in _keyed(lines):
            found.setdefault(key, []).append(line)
    return {key: lines for key, lines in found.items() if len(lines) == len(rounds)}


def _keyed(lines: Sequence[str]) -> Iterator[tuple[tuple[str, int], str]]:
    seen: dict[str, int] = {}
    for line in lines:
        words = NUMBER.sub("#", line).strip()
        seen[words] = seen.get(words, 0) + 1
        yield (words, seen[words]), line


def numbers(lines: Sequence[str]) -> list[list[float]]:
    """For each number of a line its values in all rounds."""
    return [list(each) for each in zip(*([float(n) for n in NUMBER.findall(line)] for line in lines), strict=True)]


def markdown(rounds: Sequence[Sequence[str]]) -> list[str]:
    """The lines of Markdown; what not all rounds have printed is as the last one printed it."""
    same = matched(rounds)
    items = [_item(same.get(key, [line])) for key, line in _keyed(rounds[-1]) if line.strip()]
    out: list[str] = []
    for (_, keys), group in groupby(items, key=lambda item: item[:2]):
        cells = [item[2] for item in group]
        if keys:
            out += ["", _row(keys), _row(["---"] * len(keys)), *map(_row, cells)]
        else:
            out += ["", *(cell for (cell,) in cells)]
    return out[1:]


def _item(lines: Sequence[str]) -> tuple[str, tuple[str, ...], list[str]]:
    """The kind of a line, the keys of its columns where it is a document, and its cells, over all rounds."""
    documents = [_document(line) for line in lines]
    if all(documents):
        rows = [dict(_flat(each)) for each in documents]
        if all(row.keys() == rows[0].keys() for row in rows):
            return "document", tuple(rows[0]), [_over([row[key] for row in rows]) for key in rows[0]]
    text = _spreads(lines).strip()
    return ("table", (), [text]) if text.startswith("|") else ("line", (), [f"- {text}"])


def _document(line: str) -> dict[str, Any]:
    """A line as a JSON object; empty where it is none."""
    try:
        found = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a document with their keys, ``a.b`` for those inside."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _over(values: Sequence[Any]) -> str:
    """A value of a document over the rounds."""
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in values):
        return _range(values, lambda each: f"{each:.4g}" if isinstance(each, float) else f"{each:g}")
    last = values[-1]
    return str(last) if isinstance(last, str) else json.dumps(last)


def _spreads(lines: Sequence[str]) -> str:
    """The last line with its numbers over the rounds; of what is a range already, the widest."""
    columns = zip(numbers(lines), NUMBER.findall(lines[-1]), strict=True)

    def over(found: re.Match[str]) -> str:
        values, text = next(columns)
        if found[1] is None:
            return _spread(values, text)
        (lows, low), (highs, high) = next(columns), next(columns)
        return f"{_like(text, median(values))} ({_like(low, min(lows))} to {_like(high, max(highs))})"

    return SPREAD.sub(over, lines[-1])


def _spread(values: Sequence[float], text: str) -> str:
    """A number over the rounds, as it was printed."""
    return _range(values, lambda each: _like(text, each)) if len(set(values)) > 1 else text


def _like(text: str, value: float) -> str:
    """A number with the decimals of another."""
    return f"{value:g}" if "e" in text else f"{value:.{len(text.partition('.')[2])}f}"


def _range(values: Sequence[float], shown: Callable[[float], str]) -> str:
    if len(set(values)) == 1:
        return shown(values[0])
    return f"{shown(median(values))} ({shown(min(values))} to {shown(max(values))})"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
