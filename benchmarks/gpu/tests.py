"""The tests that need a GPU (``pytest -m gpu``): the outcome of each as soon as it is known."""

import os
import sys
from pathlib import Path

import pytest
from results import Stage, stage

ROOT = Path(__file__).parents[2]


class Outcomes:
    """A pytest plugin that writes the outcome of every test."""

    def __init__(self, running: Stage) -> None:
        self._running = running

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest after the set-up, the call and the teardown of a test."""
        if report.when != "call" and report.passed:
            return
        name = report.nodeid.partition("::")[2]
        error = str(report.longrepr)[-1500:] if report.failed else None
        self._running.write(name, outcome=report.outcome, seconds=round(report.duration, 2), error=error)
        if report.failed:
            self._running.failed.append(name)


if __name__ == "__main__":
    with stage("tests") as running:
        os.environ["SEGKIT_GPU_TESTS_ON"] = running.device
        # Another release of a library may warn of what this one does not: that is no failure here.
        options = ["-m", "gpu", "-q", "-W", "default", "-p", "no:cacheprovider", "--rootdir", str(ROOT),
                   "--basetemp", str(running.folder / "pytest")]  # fmt: skip
        sys.path.insert(0, str(ROOT / "tests"))
        code = pytest.main([*options, "-c", str(ROOT / "pyproject.toml"), str(ROOT / "tests" / "test_gpu.py")],
                           plugins=[Outcomes(running)])  # fmt: skip
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            running.write("pytest", error=f"exit code {int(code)}")
            running.failed.append("pytest")
