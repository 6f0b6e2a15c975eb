"""Which line of the user's code is running: the innermost frame outside Python, torch and installed packages."""

import ast
import itertools
import re
import sys
import sysconfig
import traceback
from pathlib import Path
from types import FrameType
from typing import NamedTuple

_OWN = str(Path(__file__).parents[1])
_DEPTH = 120  # frames that are searched
_LAUNCHERS = ("", "runpy", "torch", "segkit")  # packages that start a program, and are none


class Line(NamedTuple):
    """A line of code: the file as Python knows it, the line's number, the function that it is in."""

    file: str
    number: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


UNKNOWN = Line("<unknown>", 0, "<unknown>")


def line_of(frame: FrameType) -> Line:
    """The line that a frame is at."""
    return Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def cell_of(file: str) -> int | None:
    """The number of the notebook cell that a code object's file stands for; None where it is a file."""
    found = re.match(r"<ipython-input-(\d+)-", file)
    if found is not None:
        return int(found[1])
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    numbers = getattr(getattr(shell, "compile", None), "_filename_map", {})
    return numbers.get(file)


def is_own_file(file: str) -> bool:
    """Whether a code object's file belongs to this tool."""
    return file.startswith(_OWN) or "segkit/memory/" in file


def is_own_object(value: object) -> bool:
    """Whether an object is an instance of one of this tool's classes."""
    return is_own_class(type(value))


def is_own_class(kind: type) -> bool:
    """Whether a class belongs to this tool."""
    return str(kind.__module__).startswith("segkit.memory")


def describe(error: BaseException) -> str:
    """An error and the last lines of its traceback, as text: the error itself would keep the script's variables."""
    return "".join(traceback.format_exception(error)[-3:])


class UserCode(dict[str, bool]):
    """For every file whose code has run: whether it is the user's, or belongs to a library.

    Everything below ``site-packages`` and the standard library is a library, except the package that was started as a
    program (``python -m pkg``, or the command that it installs): for this run it is the user's.
    """

    def __init__(self) -> None:
        self._libraries = tuple(
            {str(Path(path)) + "/" for name, path in sysconfig.get_paths().items() if name.endswith(("lib", "stdlib"))}
        )
        self._program: str | None = None

    def start(self) -> None:
        """Find out which program runs."""
        main = sys.modules.get("__main__")
        spec = getattr(main, "__spec__", None)
        package = (getattr(spec, "name", None) or "__main__").partition(".")[0]
        if package in ("__main__", "runpy"):
            package = _started_by(getattr(main, "__file__", None)) or ""
        module = sys.modules.get(package) if package not in _LAUNCHERS else None
        file = getattr(module, "__file__", None)
        folder = next(iter(getattr(module, "__path__", ())), None)
        self._program = f"{folder}/" if folder else file  # a module is a program by itself, not with its neighbours
        self.clear()

    def __missing__(self, file: str) -> bool:
        users = self[file] = self._is_users(file)
        return users

    def owns(self, file: str) -> bool:
        """Whether a code object's file is the user's."""
        return self[file]

    def files(self) -> list[str]:
        """The user's files whose code has run."""
        return [file for file, users in self.items() if users]

    def _is_users(self, file: str) -> bool:
        if cell_of(file) is not None:
            return True
        if file.startswith("<") or is_own_file(file):
            return False
        if self._program is not None and file.startswith(self._program):
            return True
        if "/site-packages/" in file or "/dist-packages/" in file:
            return False
        return not file.startswith(self._libraries)

    def innermost(self, frame: FrameType | None) -> Line:
        """The innermost line of the user's code at or above ``frame``; that of a library where there is none."""
        users = self.innermost_frame(frame)
        return line_of(users) if users is not None else UNKNOWN

    def innermost_frame(self, frame: FrameType | None) -> FrameType | None:
        """The innermost frame of the user's code at or above ``frame``; that of a library where there is none."""
        first = frame
        for _ in range(_DEPTH):
            if frame is None:
                break
            if self[frame.f_code.co_filename]:
                return frame
            frame = frame.f_back
        while first is not None and first.f_code.co_filename.startswith(_OWN):
            first = first.f_back
        return first

    def library_line(self, frame: FrameType) -> str | None:
        """The innermost line outside torch itself, such as ``torchvision/ops/boxes.py:308 (box_iou)``."""
        for each, number in itertools.islice(traceback.walk_stack(frame), _DEPTH):
            file = each.f_code.co_filename
            if "/torch/" not in file and not file.startswith((_OWN, "<")):
                return f"{file.rpartition('/site-packages/')[2]}:{number} ({each.f_code.co_name})"
        return None


def _started_by(script: str | None) -> str | None:
    """The package whose function an installed command calls; None where this is no such command."""
    if script is None or Path(script).parent != Path(sysconfig.get_path("scripts")):
        return None
    try:
        tree = ast.parse(Path(script).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names]
    packages = [name.partition(".")[0] for name in imported]
    return next((name for name in packages if name and name not in sys.stdlib_module_names), None)


USER_CODE = UserCode()
