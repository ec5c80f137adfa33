"""A headless Chromium for the tests of pages, and a page that is watched while it is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page

from lab.evidence.screenshots import LAPTOP, PHONE, chromium, drawn

SIZES = {"laptop": LAPTOP, "phone": PHONE}


@dataclass
class Opened:
    """A page in the browser, with all that it complained of or asked the network for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def diagram(self, pattern: str) -> Locator:
        """The spacetime diagram of a pattern."""
        return self.page.locator(f"section#{pattern} canvas[role=application]")

    def data(self, pattern: str) -> dict[str, int]:
        """What the diagram says that it has drawn."""
        self.settle()
        said: dict[str, str] = self.diagram(pattern).evaluate("canvas => ({...canvas.dataset})")
        return {name: int(value) for name, value in said.items() if value}

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of a module: while it is open, its event loop holds this thread."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Opened]]:
    """Open a page; at the end it must have neither complained nor asked for anything."""
    contexts = []

    def open_(path: Path, size: str = "laptop", **options: Any) -> Opened:
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on("console", lambda message: opened.complaints.append(message.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(path.as_uri())
        drawn(opened.page)
        everything.append((path, opened))
        return opened

    everything: list[tuple[Path, Opened]] = []
    yield open_
    for path, opened in everything:
        assert opened.complaints == []
        outside = [u for u in opened.requests if u != path.as_uri() and not u.startswith("data:")]
        assert outside == []
    for context in contexts:
        context.close()
