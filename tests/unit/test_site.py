"""The site over the store: what it shows, what it refuses, and that nothing of a run is markup."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from lab.catalogue import ROOT
from lab.evidence.site import pages
from lab.evidence.site.app import create_app
from lab.evidence.stored import read
from tests.stored_runs import EVENT, inject, stored_run, verdict

OLD, NEW, HALF = (
    "20261121T030414Z-tcp_echo",
    "20261121T035342Z-rest_api",
    "20261122T000000Z-demos",
)
KILL = {"fault": "kill", "host": "n1", "component": "tcp_echo_server"}
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store of two runs, the remains of one, and a matrix; a secret lies beside it."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "runs"
    history = {"tcp_echo": [EVENT, inject(2.0, KILL)]}
    path = stored_run(root, OLD, history=history, seconds=75.0)
    (path / "tcp_echo" / "page.html").write_text(SCRIPT)
    (path / "tcp_echo" / "link").symlink_to(tmp_path / "secret")
    violated = verdict("violated", pattern="rest_api", claim="reads see writes")
    stored_run(root, NEW, patterns=["rest_api"], verdicts=[violated], trouble=["lost n2"])
    (root / HALF).mkdir()
    matrix = root / "20261121T040000Z-matrix"
    stored_run(matrix, "tcp_echo-kill")
    (matrix / "matrix.json").write_text('{"state": "finished", "cells": [{"word": "degraded"}]}')
    (matrix / "matrix.html").write_text("the matrix")
    return root


class Reader(FlaskClient):
    """A client that reads each answer to its end."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        return super().open(*args, **{**kwargs, "buffered": True})


def client_of(root: Path) -> FlaskClient:
    """A client of the site over a store."""
    app = create_app(root)
    app.test_client_class = Reader
    return app.test_client()


@pytest.fixture
def client(root: Path) -> FlaskClient:
    """A client of the site."""
    return client_of(root)


def listed(client: FlaskClient, query: str = "") -> list[str]:
    """The runs of the list, in order."""
    answer = client.get(f"/?{query}")
    assert answer.status_code == 200, answer.text
    return re.findall(r'type="checkbox" name="run" value="([^"]+)"', answer.text)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [HALF, NEW, OLD]),
        ("only=tcp_echo", [OLD]),
        ("verdict=violated", [NEW]),
        ("state=damaged", [HALF]),
        ("text=READS+see", [NEW]),
        ("only=tcp_echo&verdict=violated", []),
        ("sort=-when", [OLD, NEW, HALF]),
        ("sort=took", [OLD, NEW, HALF]),
        ("sort=what", [HALF, NEW, OLD]),
        ("sort=-what", [OLD, NEW, HALF]),
        ("sort=verdicts&state=finished", [NEW, OLD]),
        ("sort=nonsense&all=yes", [HALF, NEW, OLD]),
    ],
)
def test_the_list_is_filtered_and_sorted(client: FlaskClient, query: str, found: list[str]) -> None:
    assert listed(client, query) == found


def test_the_list_says_what_matters_of_each_run(client: FlaskClient) -> None:
    text = client.get("/").text
    for said in (
        "✕ 1 violated",
        "1 min 15 s",
        "there is no manifest.json",
        "lost n2",
        "1 degraded",
    ):
        assert said in text
    assert "/runs/20261121T040000Z-matrix/matrix.html" in text


def test_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    assert "fab run-demo" in client_of(tmp_path / "none").get("/").text


def test_a_long_list_is_cut_and_can_be_had_whole(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.evidence.site.listing.MOST", 1)
    assert listed(client) == [HALF]
    (rest,) = re.findall(r'<a href="/\?([^"]+)">and 2 more', client.get("/").text)
    assert len(listed(client, rest.replace("&amp;", "&"))) == 3


def test_a_report_is_built_and_kept_until_it_is_out_of_date(
    root: Path, client: FlaskClient
) -> None:
    answer = client.get(f"/runs/{OLD}/report.html")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert answer.headers["Content-Security-Policy"].startswith("sandbox allow-scripts")
    page = root / OLD / "report.html"
    made = page.stat().st_mtime_ns
    assert client.get(f"/runs/{OLD}/report.html").status_code == 200
    assert page.stat().st_mtime_ns == made
    future = made + 10**9
    os.utime(root / OLD / "verdicts.json", ns=(future, future))
    client.get(f"/runs/{OLD}/report.html")
    assert page.stat().st_mtime_ns != made


def test_a_report_of_a_damaged_run_and_of_a_cell_are_built(client: FlaskClient) -> None:
    assert client.get(f"/runs/{HALF}/report.html").status_code == 200
    cell = "/runs/20261121T040000Z-matrix/tcp_echo-kill/report.html"
    assert client.get(cell).status_code == 200
    assert client.get("/runs/20261121T040000Z-matrix/matrix.html").text == "the matrix"


def test_a_report_that_cannot_be_built_is_said(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    answer = client.get(f"/runs/{OLD}/report.html")
    assert answer.status_code == 500
    assert f"fab report --run {OLD}" in answer.text


def test_files_are_listed_and_given_as_text(client: FlaskClient) -> None:
    text = client.get(f"/runs/{OLD}/").text
    assert "tcp_echo/history.jsonl" in text
    assert "link" not in re.findall(r'href="([^"]+)"', text)
    assert client.get(f"/runs/{OLD}/manifest.json").get_json()["seed"] == 7
    history = client.get(f"/runs/{OLD}/tcp_echo/history.jsonl")
    assert (history.mimetype, json.loads(history.text.splitlines()[0])) == ("text/plain", EVENT)
    foreign = client.get(f"/runs/{OLD}/tcp_echo/page.html")
    assert (foreign.mimetype, foreign.text) == ("text/plain", SCRIPT)
    assert foreign.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        f"/runs/{OLD}/../../secret",
        f"/runs/{OLD}/..%2f..%2fsecret",
        f"/runs/{OLD}/%2e%2e/%2e%2e/secret",
        f"/runs/{OLD}/tcp_echo/link",
        f"/runs/{OLD}//etc/passwd",
        f"/runs/{OLD}/nothing",
        f"/runs/{OLD}/../report.html",
        f"/runs/{OLD}/nowhere/report.html",
        "/runs/../secret",
        "/runs/%2e%2e/secret",
        "/runs/../",
        "/runs/./",
        "/runs/20261121T0304/",
        "/runs/20261121T040000Z-matrix/report.html",
        "/style/../app.py",
        "/style/%2e%2e%2fapp.py",
        f"/compare?run={OLD}&run=../secret",
        "/nowhere",
    ],
)
def test_nothing_else_is_given(client: FlaskClient, path: str) -> None:
    answer = client.get(path, follow_redirects=True)
    assert answer.status_code == 404
    assert answer.text != "secret"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8800", "127.0.0.1.evil.example", "198.18.0.1", ""]
)
@pytest.mark.parametrize("path", ["/", f"/runs/{OLD}/manifest.json", f"/runs/{OLD}/report.html"])
def test_other_names_of_this_machine_are_refused(client: FlaskClient, host: str, path: str) -> None:
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 400
    assert OLD not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8800", "localhost", "localhost:9999"])
def test_the_loopbacks_names_are_served(client: FlaskClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/", f"/runs/{OLD}/", "/compare", "/nowhere", "/style/site.css"])
def test_pages_have_no_scripts_and_load_nothing_from_elsewhere(
    client: FlaskClient, path: str
) -> None:
    answer = client.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'")
    assert "script" not in policy + answer.text
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_only_looking_is_allowed(client: FlaskClient) -> None:
    for method in (client.post, client.put, client.delete):
        assert method(f"/runs/{OLD}/manifest.json").status_code == 405


def test_two_runs_are_compared(root: Path, client: FlaskClient) -> None:
    stored_run(root, f"{OLD}-1", history={"tcp_echo": [inject(9.0, KILL)]}, seed=8)
    text = client.get(f"/compare?run={OLD}-1&run={OLD}").text
    assert "<h1>Another seed, the same schedule, the same verdicts</h1>" in text
    assert text.index(f"{OLD}<") < text.index(f"{OLD}-1<")
    assert "kill host=n1 component=tcp_echo_server" in text
    assert "Neither run injected any" in client.get(f"/compare?run={NEW}&run={HALF}").text


@pytest.mark.parametrize("chosen", [[], [OLD], [OLD, OLD], [OLD, NEW, HALF]])
def test_two_are_compared_and_no_other_number(client: FlaskClient, chosen: list[str]) -> None:
    answer = client.get("/compare?" + "&".join(f"run={name}" for name in chosen))
    assert answer.status_code == 400
    assert "choose two" in answer.text


def test_what_a_run_holds_is_text(tmp_path: Path) -> None:
    odd: dict[str, Any] = {"what": SCRIPT, "command": SCRIPT, "trouble": [SCRIPT]}
    odd["versions"] = {SCRIPT: SCRIPT}
    claims = [verdict(claim=SCRIPT, detail=f'"{SCRIPT}', pattern=SCRIPT)]
    fault = {"fault": SCRIPT}
    names = [f'20261121T00000{n}Z-"><img src=x onerror=alert(1)>&?#{n}' for n in range(2)]
    for name in names:
        history = {"tcp_echo": [inject(1.0, fault)]}
        path = stored_run(tmp_path, name, verdicts=claims, history=history, **odd)
        (path / "<script>alert(1)<").mkdir()
        (path / "<script>alert(1)<" / "script>").write_text("")
    client = client_of(tmp_path)
    text = client.get("/").text
    report, other = re.findall(r'href="(/runs/[^"]+/report\.html)"', text)
    assert client.get(report).status_code == 200
    files = other.removesuffix("report.html")
    compare = client.get("/compare", query_string={"run": names}).text
    unknown = client.get(f"/runs/{SCRIPT}/").text
    filtered = client.get("/", query_string={"text": f'"{SCRIPT}', "only": SCRIPT}).text
    for page in (text, client.get(files).text, compare, unknown, filtered):
        assert "<script" not in page
        assert "<img" not in page
        assert "&lt;script&gt;" in page or "&lt;img" in page


def test_the_server_says_where_it_is_and_ends_cleanly(root: Path) -> None:
    fab = Path(sys.executable).with_name("fab")
    environment = {**os.environ, "DISTLAB_RUNS": str(root)}
    command = [str(fab), "serve", "--port", "0"]
    with (
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, process_group=0
        ) as server,
        closing(http.client.HTTPConnection("127.0.0.1", timeout=30)) as site,
    ):
        assert server.stderr is not None
        found = re.match(r"http://127\.0\.0\.1:(\d+)/ ", server.stderr.readline())
        assert found
        site.port = int(found[1])
        site.request("GET", "/")
        answer = site.getresponse()
        assert answer.status == 200
        assert OLD in answer.read().decode()
        taken = subprocess.run(
            [*command[:-1], found[1]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert taken.returncode == 2
        assert taken.stderr.startswith(f"error: port {found[1]} cannot be had")
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait(30) == 0
        assert server.stderr.read() == ""


def test_a_stored_run_of_the_site_is_the_stores(root: Path) -> None:
    assert pages.report(read(root / NEW)) == root / NEW / "report.html"
