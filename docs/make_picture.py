"""The picture of the README, from what the demo made: ``bash examples/demo.sh && python docs/make_picture.py demo``.

Two overlays, beside the page of the memory report as Chromium shows it.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HEIGHT, GAP = 640, 16


def main(demo: Path, out: Path) -> None:
    """Write the picture."""
    browser = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    with tempfile.TemporaryDirectory() as folder:
        page, shot = demo.resolve() / "memprofile/memory.html", Path(folder) / "page.png"
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=800,800", f"--screenshot={shot}"]
        subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True)
        report = Image.open(shot).convert("RGB")
    report = report.resize((round(report.width * HEIGHT / report.height), HEIGHT), Image.Resampling.LANCZOS)
    side = (HEIGHT - GAP) // 2
    whole = Image.new("RGB", (side + GAP + report.width, HEIGHT), "white")
    for number, path in enumerate(sorted(demo.glob("predictions/overlay/*"))[:2]):
        overlay = Image.open(path).convert("RGB")
        overlay = overlay.resize((round(overlay.width * side / overlay.height), side), Image.Resampling.LANCZOS)
        whole.paste(overlay, ((side - overlay.width) // 2, number * (side + GAP)))
    whole.paste(report, (side + GAP, 0))
    whole.quantize(128).save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("picture.png"))
