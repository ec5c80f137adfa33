"""The site over the store in a real browser: filtered, sorted, compared, and silent."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.catalogue import ROOT
from tests.pages.conftest import SIZES
from tests.stored_runs import EVENT, inject, operation, stored_run, verdict

OLD, NEW = "20261121T030414Z-tcp_echo", "20261121T035342Z-tcp_echo"
OTHER = "20261121T041500Z-rest_api"
KILL = {"fault": "kill", "host": "n1", "component": "tcp_echo_server"}
FAB = Path(sys.executable).with_name("fab")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The site over a store of three runs, one hostile, as `fab serve` gives it."""
    store = tmp_path_factory.mktemp("runs")
    calls = [event for n in range(20) for event in operation(f"{n}", n, n + 0.1)]
    stored_run(store, OLD, history={"tcp_echo": [EVENT, *calls, inject(2.0, KILL)]})
    stored_run(store, NEW, history={"tcp_echo": [EVENT, *calls]}, seed=8)
    hostile = verdict("violated", claim="<script>alert(1)</script>" * 5, pattern="rest_api")
    stored_run(store, OTHER, patterns=["rest_api"], verdicts=[hostile], what="<b>" * 40)
    environment = {**os.environ, "DISTLAB_RUNS": str(store)}
    command = [str(FAB), "serve", "--port", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        found = re.match(r"(http://127\.0\.0\.1:\d+)/ ", server.stderr.readline())
        assert found
        yield found[1]
        server.terminate()


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Open the site; at the end it must not have complained, nor asked anybody else."""
    complaints: list[str] = []
    requests: list[str] = []
    pages: list[Page] = []

    def open_(path: str = "/", size: str = "laptop", *, dark: bool = False) -> Page:
        width, height = SIZES[size]
        page = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address + path)
        pages.append(page)
        return page

    yield open_
    for page in pages:
        page.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith((address, "data:"))] == []


COMPARED = f"/compare?run={OLD}&run={OTHER}"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", ["/", COMPARED, f"/runs/{OLD}/", f"/runs/{OLD}/report.html"])
def test_pages_fit_every_width(visit: Callable[..., Page], path: str, size: str) -> None:
    page = visit(path, size)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= SIZES[size][0]


def test_runs_are_filtered_and_sorted_by_hand(visit: Callable[..., Page]) -> None:
    page = visit()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(3)
    page.get_by_label("pattern").select_option("tcp_echo")
    page.get_by_role("button", name="filter").click()
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("2026-11-21 03:53:42")
    page.get_by_role("link", name="when").click()
    expect(rows.first).to_contain_text("2026-11-21 03:04:14")
    page.get_by_role("link", name="show all").click()
    page.get_by_label("text").fill("alert(1)")
    page.get_by_label("text").press("Enter")
    expect(rows).to_have_count(1)


@pytest.mark.parametrize("size", SIZES)
def test_two_runs_are_chosen_and_compared(visit: Callable[..., Page], size: str) -> None:
    page = visit("/", size)
    for name in (OLD, NEW):
        page.get_by_label(f"choose {name}").check()
    page.get_by_role("button", name="compare").click()
    expect(page.locator("h1")).to_have_text(
        "Another seed, not the same schedule, the same verdicts"
    )
    expect(page.locator("tr.differs", has_text="kill host=n1")).to_be_visible()
    page.get_by_role("link", name=OLD).click()
    expect(page.locator("h1")).to_have_text("tcp_echo")


def test_a_report_draws_in_its_sandbox(visit: Callable[..., Page]) -> None:
    page = visit(f"/runs/{OLD}/report.html")
    page.wait_for_selector("html[data-ready]", state="attached")
    expect(page.locator("section#tcp_echo canvas").first).to_be_visible()
    assert page.evaluate("self.origin") == "null"


def test_dark_is_dark(visit: Callable[..., Page]) -> None:
    grounds = [
        visit("/", dark=dark).evaluate("getComputedStyle(document.body).backgroundColor")
        for dark in (False, True)
    ]
    assert grounds[0] != grounds[1]
