"""Whether the growth of a container ends: a bound in the source counts for the very object, and its limit counts."""

import importlib.util
import inspect
import sys

import pytest

from segkit.memory.findings.bounds import Bound
from segkit.memory.findings.records import MemoryLimit
from segkit.memory.findings.source_bounds import bound_in_source
from segkit.memory.findings.source_objects import Held
from segkit.memory.holders.reference_chains import find_holders
from segkit.memory.report.growth import is_kept

PRUNED = """
class Log:
    def __init__(self):
        self.rows = []
    def add(self, row):
        self.rows.append(row)
        if len(self.rows) > 100:
            self.rows.pop(0)
"""
OTHER = """
class Evaluator:
    def __init__(self):
        self.rows = []
    def add(self, row):
        self.rows.append(row)
"""
RING = """
class Ring:
    def __init__(self, capacity):
        self.capacity, self.data, self.position = capacity, [], 0
    def add(self, row):
        if len(self.data) < self.capacity:
            self.data.append(None)
        self.data[self.position] = row
        self.position = (self.position + 1) % self.capacity
"""
POOL = """
class Pool:
    def __init__(self, size=80):
        self.size, self.count, self.images = size, 0, []
    def add(self, image):
        if self.count < self.size:
            self.count += 1
            self.images.append(image)
        else:
            self.images[0] = image
"""
CHILD = """
class Base:
    def __init__(self):
        self.rows = []
    def prune(self):
        while len(self.rows) > 80:
            self.rows.pop(0)
class Child(Base):
    def add(self, row):
        self.rows.append(row)
        self.prune()
"""
LOOSE = """
rows = []
def add(row):
    rows.append(row)
    if len(rows) > 90:
        del rows[0]
def smooth(values):
    rows = []
    for value in values:
        rows.append(value)
        if len(rows) > 5:
            rows.pop(0)
"""
CUT = "rows = []\ndef add(row):\n    global rows\n    rows.append(row)\n    rows = rows[-70:]\n"
KEYED = "slots = {}\nSIZE = 150\ndef add(row):\n    slots[row % SIZE] = row\n"
LATE = """
class Log:
    def __init__(self):
        self.rows = []
    def add(self, row):
        self.rows.append(row)
    def trim(self):
        if len(self.rows) > 30:
            del self.rows[:10]
"""

UNCALLED = LATE.replace("> 30", "> 300")
SWITCHED = LOOSE.replace("if len(rows) > 90:", "if TRIM and len(rows) > 90:")
BELOW = LOOSE.replace(
    "    if len(rows) > 90:\n        del rows[0]", "    if TRIM:\n        if len(rows) > 90:\n            del rows[0]"
)
DEFAULT = """
def add(row, rows=[]):
    rows.append(row)
    if len(rows) > 75:
        rows.clear()
"""
IN_DEFAULT = "inspect.signature(add).parameters['rows'].default"


@pytest.mark.parametrize(
    ("source", "what", "expected"),
    [
        (PRUNED + "it = Log()", "it.rows", 100),
        (PRUNED + OTHER + "it = Evaluator()", "it.rows", None),
        (RING + "it = Ring(200)", "it.data", 200),
        (RING.replace("if len(self.data) < self.capacity:", "if row is not None:") + "it = Ring(200)", "it.data", None),
        (POOL + "it = Pool()", "it.images", 80),
        (CHILD + "it = Child()", "it.rows", 80),
        (LOOSE, "rows", 90),
        (LOOSE.replace("    if len(rows) > 90:\n        del rows[0]\n", ""), "rows", None),
        (CUT, "rows", 70),
        (KEYED, "slots", 150),
        (KEYED.replace("row % SIZE]", "row, row % SIZE]"), "slots", None),
        (LATE + "it = Log()", "it.rows", None),  # longer than its limit: nobody trims it
        ("rows = []\nother = []\ndef add(row):\n    if len(other) < 100:\n        rows.append(row)\n", "rows", None),
        (LOOSE.replace("del rows[0]", "rows[0] = row"), "rows", None),
        (UNCALLED + "it = Log()", "it.rows", None),
        (UNCALLED + "it = Log()\ndef end(): it.trim()", "it.rows", 300),
        (SWITCHED + "TRIM = False", "rows", None),
        (SWITCHED + "TRIM = True", "rows", 90),
        (BELOW + "TRIM = 0", "rows", None),
        (BELOW + "TRIM = 1", "rows", 90),
        (DEFAULT, IN_DEFAULT, 75),
        (DEFAULT.replace("clear()", "copy()"), IN_DEFAULT, None),
    ],
    ids=[
        "pruned", "another class", "ring", "ring that appends", "pool", "base class", "global", "another function",
        "cut", "keys", "keys that count", "longer", "another list", "replaced", "never called", "called", "off", "on",
        "within what is off", "within what is on", "default", "default without end",
    ],
)  # fmt: skip
def test_a_bound_counts_for_the_very_container(tmp_path, monkeypatch, source, what, expected):
    path = tmp_path / "user_code.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("user_code", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "user_code", module)
    spec.loader.exec_module(module)
    add = module.it.add if hasattr(module, "it") else module.add
    for number in range(60):
        add(number)
    chain = find_holders([eval(what, {"inspect": inspect, **vars(module)})], [0])[0]
    assert chain is not None
    held = Held(chain.root, chain.objects, chain.expression)
    bound = bound_in_source(held, [str(path)])
    assert (bound and bound.entries) == expected


def test_a_bound_that_does_not_fit_or_was_passed_is_none():
    memory = MemoryLimit(8 * 2**30, 2**30)
    assert is_kept(Bound(200, "a ring"), 60, 1e6, memory)
    assert not is_kept(Bound(1_000_000, "a ring"), 60, 2.8e6, memory)  # the end of it is 2.8 TB
    assert not is_kept(Bound(30, "trimmed by others"), 80, 100.0, memory)
    assert is_kept(Bound(None, "keyed by sizes"), 80, 1e9, memory)
