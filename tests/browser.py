"""Pages in a real browser: headless Chromium, as Debian packages it; tests skip where there is none."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


def render(page: Path, picture: Path, width: int = 1200, height: int = 2400) -> tuple[np.ndarray, str]:
    """The pixels [H, W, 3] of a page, and the messages on its console."""
    if BROWSER is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    done = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
            f"--window-size={width},{height}", f"--user-data-dir={picture.parent / 'browser'}",
            f"--screenshot={picture}", page.as_uri(),
        ],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert picture.is_file(), done.stderr
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    return pixels, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
