"""edge_cache on the lab, by curl: what an edge says of an image, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from typing import Any

from tests.conftest import eventually

testinfra_hosts = ["ansible://edge_cache_edge"]
IMAGES = 500


def url(host: Any, path: str) -> str:
    """Give the address of a path at the host's own edge: where its unit was told to listen."""
    told = (
        ". /etc/distlab/lab-edge-cache-edge.env; echo $EDGE_CACHE_EDGE_LISTEN:$EDGE_CACHE_EDGE_PORT"
    )
    return f"http://{host.check_output(told)}{path}"


def curl(host: Any, path: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Ask the host's own edge; the status, and the JSON that came."""
    words = " ".join(("curl --silent --path-as-is --write-out '\\n%%{http_code}'", *options))
    said = host.check_output(f"{words} %s", url(host, path))
    body, _, status = said.rpartition("\n")
    return int(status), json.loads(body) if body else {}


def headers(host: Any, path: str, *options: str) -> tuple[int, dict[str, str]]:
    """Ask for a path's headers; they are HEAD's, which are GET's."""
    words = " ".join(("curl --silent --head", *options))
    first, *lines = host.check_output(f"{words} %s", url(host, path)).splitlines()
    pairs = (line.partition(": ") for line in lines if line.strip())
    return int(first.split()[1]), {name: value.strip() for name, _, value in pairs}


def test_an_image_is_whole_and_kept(host: Any) -> None:
    path = f"/images/{random.randrange(IMAGES)}"
    status, said = headers(host, path)
    assert status == 200
    fetch = "curl --silent %s | sha256sum"
    digest = bytes.fromhex(host.check_output(fetch, url(host, path)).split()[0])
    assert said["Content-Digest"] == f"sha-256=:{base64.b64encode(digest).decode()}:"
    assert said["Content-Type"] == "image/png"
    _, again = headers(host, path)
    assert again["ETag"] == said["ETag"]
    status, _ = headers(host, path, f"--header 'If-None-Match: {said['ETag']}'")
    assert status == 304
    assert curl(host, f"{path}/size")[1]["bytes"] == int(said["Content-Length"])


def test_says_what_is_wrong(host: Any) -> None:
    assert curl(host, "/images/999999") == (
        404,
        {"status": 404, "detail": "there is no image 999999"},
    )
    for bad in ("-1", "abc", "1.5", "007", "9" * 30, "..%%2f..%%2fetc%%2fpasswd", "%%2e%%2e"):
        status, told = curl(host, f"/images/{bad.replace('%%', '%')}")
        assert status == 400
        assert "a whole number from 0 to 999999999" in told["detail"]
    assert curl(host, "/images/../../etc/passwd")[0] == 404
    assert curl(host, "/images/1", "--request DELETE")[0] == 405


def test_refuses_a_deposed_leaders_write(host: Any) -> None:
    """Image 0 is written as a leader would, in an epoch that is over, and not kept."""
    body = b"\x89PNG\r\n\x1a\n of a leader that was"
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    sent = base64.b64encode(body).decode()
    options = (
        f"--upload-file <(base64 --decode <<< {sent})",
        f"--header 'Content-Digest: sha-256=:{digest}:'",
        "--header 'ETag: \"old\"'",
        "--header 'Epoch: 0.0'",
    )
    words = " ".join(("curl --silent --write-out '\\n%{http_code}'", *options))
    said = host.check_output("bash -c %s", f"{words} {url(host, '/replicas/0')}")
    assert said.endswith("412")
    assert "the write is of epoch 0.0" in said
    assert headers(host, "/images/0")[1]["ETag"] != '"old"'


def test_refuses_what_is_not_what_it_says(host: Any) -> None:
    epoch = ".".join(map(str, curl(host, "/leader")[1]["epoch"]))
    status, told = curl(
        host, "/replicas/0", "--upload-file /etc/hostname", f"--header Epoch:{epoch}"
    )
    assert status == 400
    assert "Content-Digest" in told["detail"]


def test_tells_what_it_did(host: Any) -> None:
    before = curl(host, "/stats")[1]
    host.check_output("curl --silent --output /dev/null %s", url(host, "/images/1"))
    after = curl(host, "/stats")[1]
    counted = ("hit", "miss", "revalidated", "stale")
    assert sum(after.get(name, 0) for name in counted) > sum(
        before.get(name, 0) for name in counted
    )
    edges = host.ansible.get_variables()["groups"]["edge_cache_edge"]
    eventually(lambda: curl(host, "/leader")[1]["leader"] == edges[-1], f"{edges[-1]} leads")


def test_survives_garbage_and_silence(host: Any) -> None:
    address = url(host, "").removeprefix("http://").replace(":", " ")
    host.run(f"head -c 100000 /dev/urandom | nc -w 2 {address} > /dev/null")
    host.run(f"printf 'GET /images/1 HTTP/1.1\\r\\nHost' | nc -w 1 {address} > /dev/null")
    assert curl(host, "/health") == (200, {"status": "ok"})


def test_cache_survives_a_kill(host: Any) -> None:
    path = "/images/2"
    headers(host, path)
    host.check_output("systemctl kill --signal=KILL lab-edge-cache-edge")
    # Restarting waits until the unit is ready, whether systemd was quicker or not.
    host.check_output("systemctl restart lab-edge-cache-edge")
    assert curl(host, "/stats")[1]["kept"]["images"] > 0
    _, said = headers(host, path)
    assert "fwd=stale" in said["Cache-Status"]
