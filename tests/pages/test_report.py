"""The page of a run, in a real browser: drawn, told apart, filtered, and silent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Position

from benchmarks.pages import busy_run
from lab.evidence import report
from tests.pages.conftest import SIZES, Opened
from tests.stored_runs import inject, stored_run, verdict

Open = Callable[..., Opened]
PATTERN = "tcp_echo"


def event(name: str, node: str, t: float, **fields: Any) -> dict[str, Any]:
    component = "server" if node == "n2" else "client"
    return {
        "event": name,
        "pattern": PATTERN,
        "component": component,
        "node": node,
        "t": 1000 + t,
        **fields,
    }


def little_history() -> list[dict[str, Any]]:
    """n1 asks n2 and is answered; n3 asks, too late for the answer, and again, and is not heard."""
    return [
        event("invoke", "n1", 0.0, op="1", f="echo", value="a"),
        event("send", "n1", 0.1, id="m1", peer="n2:8080"),
        event("recv", "n2", 0.2, id="m1", peer="n1"),
        event("ready", "n2", 0.3),
        event("send", "n2", 0.4, id="m2", peer="n1"),
        event("send", "n3", 0.5, id="m3", peer="n2:8080"),
        event("recv", "n1", 0.6, id="m2", peer="n2:8080"),
        event("ok", "n1", 0.7, op="1", f="echo", value="a"),
        event("recv", "n2", 0.8, id="m3", peer="n3"),
        event("send", "n3", 1.0, id="m4", peer="n2:8080"),
    ]


def little_run(directory: Path, **options: Any) -> Path:
    history = little_history()
    fault = {"fault": "partition", "shape": "isolate", "hosts": ["n3", "n2", "n1"]}
    kill = {"fault": "kill", "host": "n2", "component": f"{PATTERN}_server"}
    events = [
        *history,
        inject(1000.9, fault, hosts=["n1", "n2", "n3"]),
        inject(1000.95, kill, hosts=["n2"]),
    ]
    verdicts = [
        verdict("holds", claim="all is well"),
        verdict("violated", claim="every call is answered", witness=[history[5], history[9]]),
        verdict("shown", kind="limit", claim="messages are lost", witness=[history[9]]),
        verdict("unknown", claim="nobody can tell"),
    ]
    hosts = {f"n{i}": f"198.18.0.1{i}" for i in (1, 2, 3)}
    path = stored_run(
        directory,
        "20270115T080000Z-little",
        verdicts=verdicts,
        history={PATTERN: events},
        hosts=hosts,
        **options,
    )
    entries = [
        {
            "MESSAGE": json.dumps(e),
            "__REALTIME_TIMESTAMP": str(int(e["t"] * 1e6)),
            "UNIT": "lab-tcp-echo-server.service",
        }
        for e in history
        if e["node"] == "n2"
    ]
    lines = "".join(f"{json.dumps(entry)}\n" for entry in entries)
    (path / PATTERN / "journals" / "n2.jsonl").write_text(lines)
    return path


@pytest.fixture
def little(tmp_path: Path) -> Path:
    return report.build(little_run(tmp_path))


def place(opened: Opened, t: float, lane: float) -> Position:
    """Where the little history's diagram has an event, as plot.js and span.js place it."""
    box = opened.diagram(PATTERN).bounding_box()
    assert box is not None
    left, right = 150, box["width"] - 10
    part = (t + 0.02) / 1.04
    return {"x": left + part * (right - left), "y": 22 + (lane + 0.5) * 60}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_the_history_holds_is_drawn(
    little: Path, open_page: Open, size: str, scheme: str
) -> None:
    opened = open_page(little, size, color_scheme=scheme)
    data = opened.data(PATTERN)
    assert data == {"lanes": 3, "events": 10, "messages": 3, "lost": 1}
    colors = opened.page.evaluate(
        """() => [...document.querySelectorAll("canvas")].map((canvas) => {
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(data.buffer)).size;
        })"""
    )
    assert len(colors) == 4
    assert all(count > 5 for count in colors)
    assert opened.page.evaluate("() => document.documentElement.scrollWidth") <= SIZES[size][0]


def test_verdicts_stand_worst_first_and_a_violated_one_open(little: Path, open_page: Open) -> None:
    page = open_page(little).page
    rows = page.locator("#verdicts > details.verdict")
    words = rows.locator("> summary > .badge").all_inner_texts()
    assert [word.split()[-1] for word in words] == ["violated", "unknown", "shown", "holds"]
    assert rows.first.get_attribute("open") is not None
    assert rows.first.locator(".witnesses tbody tr").count() == 2
    journal = rows.first.locator(".journal tbody tr")
    assert journal.count() == 4  # all that n2 has said
    assert rows.nth(3).get_attribute("open") is None


def test_witnesses_are_shown_in_the_diagram(little: Path, open_page: Open) -> None:
    opened = open_page(little)
    opened.page.locator("details.violated [data-show]").click()
    # Between the witnesses, at 0.5 s and 1 s, and a little around them.
    assert opened.data(PATTERN) == {"lanes": 3, "events": 6, "messages": 2, "lost": 1}


def test_a_click_tells_past_from_future(little: Path, open_page: Open) -> None:
    opened = open_page(little)
    opened.diagram(PATTERN).click(position=place(opened, 0.4, 1))
    data = opened.data(PATTERN)
    assert (data["past"], data["future"]) == (4, 3)
    told = opened.page.locator(".chosen").inner_text()
    assert "4 events led to it" in told
    assert "it led to 3" in told
    assert "2 are concurrent" in told
    assert "m2" in told
    opened.page.locator(".chosen .close").click()
    assert "past" not in opened.data(PATTERN)


def test_hovering_tells_the_content(little: Path, open_page: Open) -> None:
    opened = open_page(little)
    tip = opened.page.locator(".tip")
    opened.diagram(PATTERN).hover(position=place(opened, 0.3, 1))
    assert "ready n2 server" in tip.inner_text()
    opened.diagram(PATTERN).hover(position=place(opened, 0.15, 0.5))
    assert "n1 → n2 100 ms on its way" in tip.inner_text()
    opened.page.mouse.move(0, 0)
    assert not tip.is_visible()


def test_keys_step_from_event_to_event(little: Path, open_page: Open) -> None:
    opened = open_page(little)
    opened.diagram(PATTERN).focus()
    counts = []
    for key in ("n", "n", "ArrowDown", "n", "p"):
        opened.page.keyboard.press(key)
        counts.append(opened.data(PATTERN)["past"])
    # The call, its message, its arrival, what the server did next, and back again.
    assert counts == [0, 1, 2, 3, 2]
    opened.page.keyboard.press("Escape")
    assert "past" not in opened.data(PATTERN)


def test_keys_wheel_and_drag_change_the_time_shown(little: Path, open_page: Open) -> None:
    opened = open_page(little)
    diagram = opened.diagram(PATTERN)
    diagram.focus()
    for _ in range(4):
        opened.page.keyboard.press("+")
    assert opened.data(PATTERN)["events"] < 10
    opened.page.keyboard.press("0")
    assert opened.data(PATTERN)["events"] == 10
    diagram.hover(position=place(opened, 0.45, 1))
    opened.page.mouse.wheel(0, -800)
    assert opened.data(PATTERN)["events"] < 10
    # The call began before the time that the wheel zoomed to; dragging brings it back.
    opened.page.wait_for_selector(".quantiles tbody:not(:has(tr))", state="attached")
    box = diagram.bounding_box()
    assert box is not None
    opened.page.mouse.move(box["x"] + 400, box["y"] + 60)
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + 9000, box["y"] + 60, steps=4)
    opened.page.mouse.up()
    opened.page.wait_for_selector(".quantiles tbody tr")


def test_filters_leave_out_hosts_events_and_what_lacks_a_text(
    little: Path, open_page: Open
) -> None:
    opened = open_page(little)
    page = opened.page
    page.locator(".choice summary", has_text="hosts").click()
    page.locator(".choice label", has_text="n3").click()
    assert opened.data(PATTERN) == {"lanes": 2, "events": 8, "messages": 2, "lost": 0}
    page.locator(".choice button", has_text="all").first.click()
    page.locator(".choice summary", has_text="events").click()
    page.locator(".choice label", has_text="ready").click()
    assert opened.data(PATTERN)["events"] == 9
    page.locator("input[type=search]").fill("M2")
    page.wait_for_selector("output:has-text('2 of 10 events')")
    # The arrival's id is not stored twice, and is found nevertheless.
    assert opened.data(PATTERN) == {"lanes": 3, "events": 2, "messages": 1, "lost": 0}


def test_a_command_is_copied(little: Path, open_page: Open) -> None:
    opened = open_page(little, permissions=["clipboard-read", "clipboard-write"])
    opened.page.locator("[data-copy]").last.click()
    opened.page.wait_for_selector("button:has-text('copied')")
    copied = opened.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == "fab run-demo --replay 20270115T080000Z-little"


def test_a_command_that_cannot_be_copied_is_selected(little: Path, open_page: Open) -> None:
    opened = open_page(little)
    opened.page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    opened.page.locator("[data-copy]").last.click()
    opened.page.wait_for_selector("button:has-text('selected')")
    selected = opened.page.evaluate("() => String(getSelection())")
    assert selected == "fab run-demo --replay 20270115T080000Z-little"


def test_faults_are_listed(little: Path, open_page: Open) -> None:
    rows = open_page(little).page.locator("table.faults tbody tr").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["partition", "kill"]


def test_a_hundred_thousand_events_are_drawn(tmp_path: Path, open_page: Open) -> None:
    events = 100_000
    opened = open_page(report.build(busy_run(tmp_path / "20270115T080000Z-busy", events)))
    history = (tmp_path / "20270115T080000Z-busy" / PATTERN / "history.jsonl").read_text()
    lines = [json.loads(line) for line in history.splitlines()]
    assert len(lines) == events
    sent = {line["id"] for line in lines if line["event"] == "send"}
    arrived = {line["id"] for line in lines if line["event"] == "recv"}
    controller = sum(line["component"] == "lab" for line in lines)
    assert opened.data(PATTERN) == {
        "lanes": 6,
        "events": events - controller,
        "messages": len(sent & arrived),
        "lost": len(sent - arrived),
    }
    opened.diagram(PATTERN).focus()
    opened.page.keyboard.press("n")
    assert opened.data(PATTERN)["past"] + opened.data(PATTERN)["future"] > 0


HOSTILE = (
    "</script><script>document.title='hacked'</script>",
    "<img src=x onerror=\"document.title='hacked'\">",
    "{{ 7 * 7 }} {% raw %}",
    "\ud800 \u2028 \u0000 \x1b[31m",
    "'\"><svg onload=document.title='hacked'>",
    "x" * 100_000,
)


def test_hostile_text_stays_text(tmp_path: Path, open_page: Open) -> None:
    events = [
        event(text, f"n1{text}"[:200], 0.1 * i, id=text, op=text, **{text[:200]: text})
        for i, text in enumerate(HOSTILE)
    ]
    events += [event("send", "n1", 0.9, id=text, peer=text, value=[text]) for text in HOSTILE]
    odd_times = [float("nan"), float("inf"), -5.0, 1e300, 10**400, True]
    events += [{**event("odd", "n1", 0), "t": t} for t in odd_times]
    verdicts = [verdict("violated", claim=t, detail=t, witness=events[:3]) for t in HOSTILE]
    run = stored_run(
        tmp_path,
        "20270115T080000Z-hostile",
        verdicts=verdicts,
        history={PATTERN: events},
        command=HOSTILE[0],
        versions={HOSTILE[1]: HOSTILE[0]},
        hosts={HOSTILE[1]: HOSTILE[0]},
        figures={PATTERN: {HOSTILE[1]: HOSTILE[0]}},
        trouble=list(HOSTILE),
    )
    (run / PATTERN / "<img src=x>.txt").write_text("x")
    with (run / PATTERN / "history.jsonl").open("ab") as file:
        file.write(
            b'{"event": \xff\xfe\nnull\n[1]\n{"event": 5, "t": 1}\n' + b"[" * 100_000 + b"\n"
        )
    opened = open_page(report.build(run))
    assert opened.page.title() == "hostile · 20270115T080000Z-hostile"
    assert opened.page.locator("details.verdict").count() == len(HOSTILE)
    assert opened.page.locator("img, svg").count() == 0
    assert opened.data(PATTERN)["events"] >= 2 * len(HOSTILE)
    opened.diagram(PATTERN).focus()
    for _ in range(3):
        opened.page.keyboard.press("n")
    assert opened.page.evaluate("() => document.documentElement.scrollWidth") <= SIZES["laptop"][0]


@pytest.mark.parametrize("history", [{}, {PATTERN: []}, {PATTERN: little_history()[:1]}])
def test_a_run_that_broke_off_has_a_page(
    tmp_path: Path, open_page: Open, history: dict[str, Any]
) -> None:
    run = stored_run(tmp_path, "20270115T080000Z-broken", history=history, state="running")
    opened = open_page(report.build(run), "phone")
    assert opened.page.locator("details.verdict").count() == 1


def test_a_run_without_a_manifest_has_a_page(tmp_path: Path, open_page: Open) -> None:
    run = little_run(tmp_path)
    (run / "manifest.json").unlink()
    (run / "verdicts.json").write_text("[")
    opened = open_page(report.build(run))
    assert opened.page.locator("header .trouble").count() >= 2
    assert opened.data(PATTERN)["events"] == 10
