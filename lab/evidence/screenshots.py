"""Pages in a headless Chromium: pictures of them, and the browser for whoever checks them.

Debian's own Chromium is driven, by Playwright, which brings none of its own then. It has a fresh
profile each time, and fetches nothing that the page does not ask for.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LAPTOP, PHONE = (1366, 900), (390, 844)
"""Widths and heights that pages are made for."""
_QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Have a browser; LabError if there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise LabError("playwright is missing", "install it: make .venv/.locked") from None
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise LabError("there is no Chromium", "lab/bootstrap.sh test installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=list(_QUIET),
            chromium_sandbox=os.geteuid() != 0,  # it refuses to have one as root
        )
        try:
            yield browser
        finally:
            browser.close()


def drawn(page: Page) -> None:
    """Wait until a page's drawings are there; a page that says nothing of them has none."""
    page.wait_for_selector("html[data-ready]", state="attached")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def screenshot(page: Path | str, out: Path, width: int, height: int, *, dark: bool = False) -> None:
    """Write a picture (PNG) of the top of a page, which is a file or an address."""
    address = page.resolve().as_uri() if isinstance(page, Path) else page
    with chromium() as browser:
        tab = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            device_scale_factor=2,
        )
        tab.goto(address)
        if tab.query_selector("section.pattern"):
            drawn(tab)
        tab.screenshot(path=out)
