"""What the benchmarks read from their peers, and how they tell it; nothing here takes a time."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import calls, floors, kept, plot, report, rest, sockets
from benchmarks.commands import timed
from benchmarks.figures import Figure, Peer, Traffic, compared, number
from benchmarks.tools import must_match
from lab.catalogue import ROOT, patterns
from lab.errors import LabError
from tests.conftest import eventually
from tests.loopback import free_port

BOOT = Figure("six", "up", "s", (3.0, 2.0, 7.0), aim=2.5, peer=Peer("Mininet", (0.5, 1.5, 1.0)))

WRK = """\
Running 5s test @ http://198.18.200.11:5151/items/1
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.85ms    5.60ms  63.85ms   93.06%
    Req/Sec     1.91k   437.15     2.49k    66.00%
  Latency Distribution
     50%  890.00us
     75%    4.63ms
     90%    7.43ms
     99%    1.02s
  9518 requests in 5.00s, 2.61MB read
Requests/sec:   1902.95
Transfer/sec:    534.10KB
"""

SOCKPERF = """\
sockperf: [Total Run] RunTime=2.001 sec; Warm up time=400 msec; SentMessages=9; ReceivedMessages=8
sockperf: [Valid Duration] RunTime=1.550 sec; SentMessages=339724; ReceivedMessages=339724
sockperf: ---> percentile 99.900 =   26.863
sockperf: ---> percentile 99.000 =    4.823
sockperf: ---> percentile 50.000 =    4.398
"""


def test_the_median_counts_and_the_aim_is_an_upper_bound() -> None:
    assert BOOT.value == 3.0
    assert BOOT.ratio == 3.0
    assert BOOT.missed
    assert BOOT.cells() == ("up", "3 s", "≤ 2.5 s, missed", "Mininet", "1 s", "3 times")


def test_a_figure_may_have_neither_aim_nor_peer() -> None:
    alone = Figure("deploy", "deploy", "s", (1.234,))
    assert not alone.missed
    assert alone.cells() == ("deploy", "1.23 s", "", "", "", "")
    assert json.loads(json.dumps(alone.as_json()))["ratio"] is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (0.01234, "0.0123"), (0, "0")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_runs_are_compared_one_by_one() -> None:
    ours, theirs = [Traffic(10, 2, 3), Traffic(30, 4, 5)], [Traffic(40, 1, 1)]
    rate, p50, p99 = compared("sockets", "echo", ours, ("sockperf", theirs), "loud")
    assert (rate.value, rate.ratio, rate.note) == (20, 0.5, "loud")
    assert (p50.what, p50.unit, p50.value) == ("echo, p50", "ms", 3)
    assert (p99.value, p99.note) == (4, "")


def test_wrk_is_read_in_its_units() -> None:
    assert rest.traffic(WRK) == Traffic(1902.95, 0.89, 1020.0)


@pytest.mark.parametrize("complaint", ["Non-2xx or 3xx responses: 3", "Socket errors: connect 8"])
def test_a_server_that_failed_has_no_rate(complaint: str) -> None:
    with pytest.raises(LabError, match="did not answer all"):
        rest.traffic(WRK + complaint)


def test_sockperf_is_read_in_milliseconds() -> None:
    assert sockets._percentiles(SOCKPERF) == (0.004398, 0.004823)


def test_output_that_changed_is_an_error_that_shows_it() -> None:
    with pytest.raises(LabError, match="quite different"):
        must_match(r"percentile (\d+)", "something quite different")


def test_the_table_replaces_what_stood_between_the_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    shutil.copy(report.README, readme)
    before, _, rest_of_it = report.README.read_text().partition(report._BEGIN)
    for _ in range(2):
        report.write({"machine": "a big one"}, [BOOT], readme)
    text = readme.read_text()
    assert text.startswith(before)
    assert text.endswith(rest_of_it.partition(report._END)[2])
    assert text.count("| up | 3 s | ≤ 2.5 s, missed | Mininet | 1 s | 3 times |") == 1
    assert "- machine: a big one" in text


def test_a_part_that_is_measured_again_takes_its_own_place_alone(tmp_path: Path) -> None:
    path, readme = tmp_path / "figures.json", tmp_path / "README.md"
    shutil.copy(report.README, readme)
    for part, load in (("six", "0.1"), ("calls", "0.2"), ("six", "0.3")):
        kept.keep(part, {"load before": load}, [BOOT], path)
    known = kept.kept(["calls", "six", "never"], path)
    assert known == {
        "calls": ({"load before": "0.2"}, [BOOT]),
        "six": ({"load before": "0.3"}, [BOOT]),
    }
    report.write_all(known, readme)
    text = readme.read_text()
    assert text.index("### calls\n\nOn load before 0.2.") < text.index(
        "### six\n\nOn load before 0.3."
    )


CALLS = [
    figure
    for name, ours, floor in (
        ("soap", Traffic(300, 12, 90), 1000),
        ("a<b", Traffic(9000, 0.5, 3), 2e4),
    )
    for figure in compared("calls", name, [ours], ("bare", [Traffic(floor, 0.1, 1)]), "a call")
]


def test_the_calls_are_drawn_the_fastest_first(tmp_path: Path) -> None:
    plot.draw(CALLS, tmp_path / "plot.svg")
    drawn = ET.parse(tmp_path / "plot.svg")
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.index("a<b") < texts.index("soap")
    assert {"9,000", "300", "20,000", "calls a second", "ms a call"} <= set(texts)
    places = [
        float(element.attrib["cx"]) for element in drawn.iter("{http://www.w3.org/2000/svg}circle")
    ]
    assert all(0 < place < plot._WIDTH for place in places)


def test_the_page_of_the_calls_has_room_for_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    shutil.copy(plot.PAGE, page)
    report.write({}, CALLS, page)
    assert "| soap, rate | 300 /s |" in page.read_text()
    assert plot.PLOT.name in page.read_text()


def test_every_style_is_a_pattern_and_has_a_floor() -> None:
    commands = {pattern.name: pattern.commands for pattern in patterns()}
    for style in calls.STYLES:
        assert style.words.split()[0] in commands[style.pattern].commands
        assert style.asks in commands[style.pattern].components
        assert style.floor in calls._FLOORS


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_floor_answers_its_calls(kind: str) -> None:
    port = free_port()
    command = [sys.executable, "floors.py", "serve", kind, "127.0.0.1", str(port)]
    process = subprocess.Popen(command, cwd=Path(floors.__file__).parent)
    try:
        eventually(lambda: _listens(port), "it listens")
        assert floors.measure(kind, "127.0.0.1", port, callers=2, seconds=0.2)["rate"] > 0
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_a_readme_without_markers_stays_as_it_is(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("mine\n")
    with pytest.raises(LabError, match="markers"):
        report.write({}, [BOOT], readme)
    assert readme.read_text() == "mine\n"


def test_a_command_that_fails_shows_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="ended with 3:\nalas"):
        timed(["sh", "-c", "echo alas >&2; exit 3"], tmp_path)


def test_a_command_is_timed_to_a_line_it_must_print(tmp_path: Path) -> None:
    assert timed(["echo", "*** Stopping"], tmp_path, until="*** Stop").output == "*** Stopping\n"
    with pytest.raises(LabError):
        timed(["echo", "nothing"], tmp_path, until="*** Stop")


def test_an_unknown_part_is_refused_before_anything_is_done() -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "six,seven"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'seven' is none of image, fifty, six" in done.stderr
