"""What all HTML pages share: how they are rendered, and choices that hide what is not chosen without a script.

Styles and macros are in ``templates/parts.html``. A page is one file: it needs no network and runs no script.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined


def page_environment(folder: Path, undefined: type[Undefined] = StrictUndefined) -> Environment:
    """Jinja for the templates of a folder, with autoescape; they can import ``parts.html``.

    Args:
        folder: Of the templates.
        undefined: What a name without a value is; an error by default.
    """
    return Environment(
        loader=FileSystemLoader([folder, Path(__file__).with_name("templates")]),
        autoescape=True,
        undefined=undefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@dataclass(frozen=True, slots=True)
class Filter:
    """Names of which a reader chooses one, so that a page shows only the items that have it.

    Attributes:
        key: Its name in the page's classes.
        title: What the reader sees.
        counts: How many items have each name, in the order in which they are offered.
    """

    key: str
    title: str
    counts: dict[str, int]

    def classes(self, names: Collection[str]) -> str:
        """The CSS classes of an item that has these names."""
        return " ".join(f"{self.key}-{number}" for number, name in enumerate(self.counts, 1) if name in names)


def filter_of(key: str, title: str, items: Iterable[Collection[str]], order: Sequence[str]) -> Filter | None:
    """The filter of items by their names; None where there is nothing to choose.

    Args:
        key: Its name in the page's classes: letters only.
        title: What the reader sees.
        items: The names of each item.
        order: All names, in the order in which they are offered.
    """
    found = Counter(name for names in items for name in set(names))
    counts = {name: found[name] for name in dict.fromkeys(order) if found[name]}
    return Filter(key, title, counts) if len(counts) > 1 else None
