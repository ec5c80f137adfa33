"""How fast an edge gives images, beside nginx as a caching proxy and the canonical server itself.

One edge, and one nginx with one worker on the same host, cache the same images of the same server
for as long; wrk asks each from another host, for images drawn by Zipf's law. The hit rate is that
of requests that did not reach the canonical server, by its own count.
"""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from benchmarks.figures import Figure, Peer, Tell, Traffic, compared
from benchmarks.rest import traffic
from benchmarks.stand import Stand
from benchmarks.tools import Tools
from lab.catalogue import Pattern
from lab.errors import LabError
from lab.hosts.remote import Remote
from lab.status import option

_WRK = "wrk --threads 1 --connections 8 --duration 5s --latency --script /tmp/zipf.lua"
_IMAGES = 100
_NGINX_PORT = 9100
_PACKAGES = "lab:\n  vars:\n    lab_packages: [nginx]\n"
"""On top of the inventory: the peer comes with the hosts' image, which is built anew for it."""
_ZIPF = f"""\
local sums, total = {{}}, 0
for rank = 1, {_IMAGES} do total = total + 1 / rank; sums[rank] = total end
math.randomseed(1)
request = function()
  local drawn, image = math.random() * total, 1
  while sums[image] < drawn do image = image + 1 end
  return wrk.format("GET", "/images/" .. image - 1)
end
"""
_NGINX = """\
worker_processes 1;
events {{ worker_connections 1024; }}
pid /tmp/nginx/pid;
error_log /tmp/nginx/error.log;
http {{
  access_log off;
  client_body_temp_path /tmp/nginx/body;
  proxy_temp_path /tmp/nginx/proxy;
  fastcgi_temp_path /tmp/nginx/fastcgi;
  uwsgi_temp_path /tmp/nginx/uwsgi;
  scgi_temp_path /tmp/nginx/scgi;
  proxy_cache_path /tmp/nginx/cache keys_zone=images:10m max_size=32m;
  upstream canonical {{ server {origin}; keepalive 8; }}
  server {{
    listen {address}:{port};
    location / {{
      proxy_pass http://canonical;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache images;
      proxy_cache_lock on;
      proxy_cache_revalidate on;
      proxy_cache_use_stale error timeout updating;
    }}
  }}
}}
"""


class _Measured(NamedTuple):
    traffic: Traffic
    hits: float
    """Percent of the requests."""


def edge(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure gets of images from an edge, from nginx on its host, and from where they are."""
    more = stand.tree / "inventory" / "local" / "nginx.yml"
    more.write_text(_PACKAGES)
    try:
        tell("six hosts whose image has nginx")
        stand.fab("down", "local", "--wipe")
        stand.fab("up", "local")
        stand.fab("deploy", "local", "--only", "edge_cache")
        with Remote(stand.inventory("local")) as remote:
            yield from _compare(remote, runs, tell)
    finally:
        more.unlink()
        stand.fab("down", "local", "--wipe")


def _compare(remote: Remote, runs: int, tell: Tell) -> Iterator[Figure]:
    inventory, pattern = remote.inventory, Pattern("edge_cache")
    host, client = inventory.groups["edge_cache_edge"][0], inventory.groups["edge_cache_client"][0]
    hub = inventory.groups["edge_cache_canonical"][0]
    address = inventory.hosts[host].address
    origin = f"{inventory.hosts[hub].address}:{option(inventory, hub, pattern, _port('canonical'))}"
    places = {
        "edge": f"{address}:{option(inventory, host, pattern, _port('edge'))}",
        "nginx": f"{address}:{_NGINX_PORT}",
        "canonical": origin,
    }
    tools = Tools(remote, "wrk")
    remote.connection(client).put(io.BytesIO(_ZIPF.encode()), "/tmp/zipf.lua")  # noqa: S108
    with _nginx(remote, host, str(address), origin):
        measured: dict[str, list[_Measured]] = {name: [] for name in places}
        for _ in range(runs):  # in turns, so that what else the machine does befalls all alike
            for name, place in places.items():
                tell(f"{name}, wrk on {client}")
                measured[name].append(_measure(tools, client, place, origin))
    ours, theirs, direct = ([run.traffic for run in measured[name]] for name in places)
    note = f"{_IMAGES} images by Zipf's law over 8 connections, from {client} to {host}"
    yield from compared("edge", "edge_cache", ours, ("nginx, caching proxy", theirs), note)
    yield from compared("edge", "edge_cache beside no edge", ours, ("canonical server", direct), "")
    hits = {name: tuple(run.hits for run in measured[name]) for name in places}
    peer = Peer("nginx, caching proxy", hits["nginx"])
    yield Figure("edge", "edge_cache, hit rate", "%", hits["edge"], peer=peer)


def _measure(tools: Tools, client: str, place: str, origin: str) -> _Measured:
    before = _asked(origin)
    said = tools.must(client, f"{_WRK} http://{place}/", 60)
    found = traffic(said)
    requests = found.rate * 5
    return _Measured(found, round(100 * max(0.0, 1 - (_asked(origin) - before) / requests), 2))


def _asked(origin: str) -> int:
    """Give how many requests the canonical server has answered."""
    with urllib.request.urlopen(f"http://{origin}/stats", timeout=10) as answer:
        counts: dict[str, int] = json.load(answer)
    return counts.get("served", 0) + counts.get("not_modified", 0)


@contextmanager
def _nginx(remote: Remote, host: str, address: str, origin: str) -> Iterator[None]:
    """Run nginx on a host."""
    config = _NGINX.format(origin=origin, address=address, port=_NGINX_PORT)
    remote.must(host, "mkdir -p /tmp/nginx")
    remote.connection(host).put(io.BytesIO(config.encode()), "/tmp/nginx/conf")  # noqa: S108
    nginx = "/usr/sbin/nginx -c /tmp/nginx/conf"
    try:
        remote.must(host, f"{nginx} -e /tmp/nginx/error.log")
    except LabError as error:
        raise LabError(f"nginx does not start: {error}") from error
    try:
        yield
    finally:
        remote.must(host, f"{nginx} -e /tmp/nginx/error.log -s quit")


def _port(component: str) -> str:
    return f"edge_cache_{component}_port"
