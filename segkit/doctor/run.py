"""Programs that are tried: what they print, or why they do not work."""

import subprocess
from collections.abc import Mapping, Sequence


def outcome_of(
    command: Sequence[str], patience: float, environment: Mapping[str, str] | None = None
) -> tuple[str | None, str]:
    """What a program prints, and "" ; or None, and in a few words why it fails.

    Args:
        command: Its words.
        patience: Seconds after which it is ended.
        environment: Its environment variables; by default those of this process.
    """
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=patience, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return None, f"it did not start within {patience:.0f} s"
    if done.returncode < 0:
        return None, f"its process was ended by signal {-done.returncode}"
    if done.returncode:
        return None, next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
    return done.stdout, ""
