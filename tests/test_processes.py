"""Processes that work for another one leave signals to their parent from their very start."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, sys
from segkit.runtime.processes import worker_context

def work():
    pass

if __name__ == "__main__":
    for _ in range(2):  # with the first one, Python starts a helper
        process = worker_context(fork=False).Process(target=work)
        process.start()
        os.kill(process.pid, getattr(signal, sys.argv[1]))
        process.join()
        print(process.exitcode)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_no_signal_reaches_a_process_while_it_starts(tmp_path, name):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script, name], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["0", "0"], done.stderr
