"""Clients on several hosts write while the server is killed, twice; then every write is looked up.

Each operation is repeated until its outcome is known: a creation with its idempotency key, a change
with the version that it was made from. A third of the creations is sent twice on purpose.
"""

from __future__ import annotations

from collections.abc import Callable

from apps.kit.demo import Lab, Running
from apps.rest_api.claims import (
    Item,
    acknowledged_writes_survive,
    every_outcome_known,
    keys_create_once,
)

KILLS = 2
BETWEEN = 40
"""Requests that are answered before the next kill."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    server = lab.hosts("rest_api_server")[0]
    url = f"http://{server}:{lab.option(server, 'rest_api_server_port')}"

    lab.say("clients write from every client host, and the server is killed under them")
    loads = [_start(lab, host, url) for host in lab.hosts("rest_api_client")]
    for _ in range(KILLS):
        lab.wait_until(_answers(lab, BETWEEN), "the clients are answered")
        lab.kill(server, "rest_api_server")
        lab.wait_ready(server, "rest_api_server")
    ended = [load.wait() for load in loads]

    lab.say("all items are read back")
    history = lab.history()
    reader = lab.hosts("rest_api_client")[0]
    read = lab.run(reader, "rest_api", "client", url, "list", "all")
    pages = [e["value"] for e in read.events if e["event"] == "ok" and e["f"] == "list"]
    final: list[Item] = [item for page in pages for item in page["items"]]

    lab.promised(
        "no acknowledged write is lost over kill -9", acknowledged_writes_survive(history, final)
    )
    lab.promised("a repeated key creates once", keys_create_once(history, final))
    lab.promised(
        "an operation that is repeated safely gets its outcome in the end",
        every_outcome_known([e for run in ended for e in run.events]),
    )


def _start(lab: Lab, host: str, url: str) -> Running:
    amount = ("--count", 300, "--callers", 4, "--think", 0.05, "--timeout", 30)
    return lab.start(host, "rest_api", "client", url, *amount, "--seed", lab.seed)


def _answers(lab: Lab, more: int) -> Callable[[], bool]:
    """Give whether the server has answered so many requests more than now."""

    def answered() -> int:
        return len(lab.history("rest_api_server", "send"))

    before = answered()
    return lambda: answered() >= before + more
