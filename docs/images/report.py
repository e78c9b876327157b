"""Photographs demo/report.html for report.jpg: on a desktop in light, and on a phone in dark.

    make demo && .venv/bin/python docs/images/report.py

It needs Chromium (Debian: ``apt-get install chromium``).
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "core"))

from browser import Browser  # noqa: E402

DESKTOP_PX, PHONE_PX = 1000, 390
HEIGHT_PX = 1400
"""Of both windows."""


def photograph(browser: Browser, width: int, dark: bool) -> Image.Image:
    """The top of the page in a window of this width."""
    browser.call("Emulation.setScrollbarsHidden", hidden=True)
    browser.open((ROOT / "demo" / "report.html").as_uri(), width, dark)
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=HEIGHT_PX,
        deviceScaleFactor=1, mobile=dark,
    )  # fmt: skip
    return Image.open(io.BytesIO(browser.screenshot())).convert("RGB")


def main() -> None:
    """Both side by side."""
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
        shots = [
            photograph(browser, DESKTOP_PX, dark=False),
            photograph(browser, PHONE_PX, dark=True),
        ]
    picture = Image.new("RGB", (sum(shot.width for shot in shots), HEIGHT_PX))
    picture.paste(shots[0], (0, 0))
    picture.paste(shots[1], (DESKTOP_PX, 0))
    picture.save(Path(__file__).with_name("report.jpg"), quality=82)


if __name__ == "__main__":
    main()
