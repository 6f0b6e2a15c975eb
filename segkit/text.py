"""Text from files of other people, made safe for where it goes: a terminal, a spreadsheet, a line of a list."""

import re

# C0 and C1 control characters, line and paragraph separators, and the marks that reverse the direction of writing: a
# terminal obeys them.
_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAKS = re.compile(r"\s*[\x00-\x1f\x7f-\x9f\u2028\u2029]+\s*")
_ADDRESS = re.compile(r" (?:object )?at 0x[0-9a-fA-F]+")
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|-?\d+(\.\d+)?")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def visible(text: str, *, keep: str = "") -> str:
    r"""Text in which every control character is an escape such as ``\x1b``, which a terminal shows and does not obey.

    Args:
        text: A message, a label, a file name.
        keep: Control characters that stay, such as line breaks between the lines of a message.
    """
    if text.isprintable():
        return text
    return _OBEYED.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def label_text(text: str) -> str:
    """A label as lists hold it: in one line, without spaces at its ends unless it is nothing else."""
    line = one_line(text)
    return line.strip() or line


def one_line(text: str) -> str:
    """Text for a list with one name a line: every run of control characters becomes one space, as at a line's end."""
    return text if text.isprintable() else _BREAKS.sub(" ", text).strip() or visible(text)


def without_addresses(text: str) -> str:
    """Text without the memory addresses that Python prints of objects: the same input gives the same message."""
    return _ADDRESS.sub("", text) if " at 0x" in text else text


def without_values(text: str) -> str:
    """A sentence without the names, ids and numbers in it: two are of one kind where they differ in nothing else."""
    return _VALUES.sub("?", text)


def spreadsheet_cell(text: str) -> str:
    """A cell of a CSV file: spreadsheets run what begins with ``=``, ``+``, ``-`` or ``@`` as a formula.

    An apostrophe in front makes it text (OWASP, CSV injection). ``from_spreadsheet_cell`` takes it off again.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def from_spreadsheet_cell(text: str) -> str:
    """The text that ``spreadsheet_cell`` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
