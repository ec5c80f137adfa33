"""The patterns on the hosts: deploy, remove, see how they are."""

from __future__ import annotations

from invoke.context import Context
from invoke.exceptions import Exit

from fabfile.verb import LOCAL, choose, known, load, tell, verb
from lab.errors import LabError


@verb("only", check="Change nothing, show what would change.")
def deploy(
    c: Context,
    inventory: str = LOCAL,
    only: str = "",
    check: bool = False,
) -> None:
    """Deploy the patterns with Ansible, those that they rely on too; wait until all units serve."""
    from lab.catalogue import with_relied_on
    from lab.deploy import play

    loaded = load(inventory)
    chosen = with_relied_on(choose(only, loaded))
    # Without --only, hosts on which nothing is placed are prepared as well.
    play("deploy.yml", loaded.path, chosen if only else (), check=check)


@verb("only")
def remove(c: Context, inventory: str = LOCAL, only: str = "") -> None:
    """Remove what deploy brought; of chosen patterns, or all of it, the hosts' preparation too."""
    from lab.catalogue import select
    from lab.deploy import play

    path = load(inventory).path
    if only:
        play("remove-patterns.yml", path, select(only))
    else:
        play("remove.yml", path)


@verb("only", "json")
def status(c: Context, inventory: str = LOCAL, only: str = "", json: bool = False) -> None:
    """Show every unit on every host; exit status 1 unless all are active."""
    from lab import screen
    from lab.hosts.remote import Remote
    from lab.status import status as ask

    loaded = load(inventory)
    chosen = choose(only, loaded)
    with Remote(loaded) as remote:
        units = ask(remote, chosen)
    if json:
        screen.as_json([unit.as_json() for unit in units])
    else:
        screen.table(
            ["host", "unit", "state", "port", "since", "restarts"],
            [
                (u.host, u.unit, u.state, u.port or "", u.since or u.detail, u.restarts)
                for u in units
            ],
        )
    if any(unit.state != "active" for unit in units):
        raise Exit("" if json else "not all units are active: see fab logs, fab deploy", code=1)


@verb(
    "only",
    "host",
    "json",
    since="From when, as journalctl reads it: -10min, today, 2026-11-21 12:00.",
    follow="Go on as entries come, until Ctrl-C.",
)
def logs(
    c: Context,
    inventory: str = LOCAL,
    only: str = "",
    host: str = "",
    since: str = "-10min",
    follow: bool = False,
    json: bool = False,
) -> None:
    """Show the journals of all hosts as one, merged by time."""
    import json as codec

    from lab import logs as journals
    from lab.catalogue import select
    from lab.hosts.remote import Remote
    from lab.status import placed

    loaded = load(inventory)
    wanted = placed(loaded, select(only))
    if host:
        names = host.split(",")
        known(names, loaded)
        wanted = [(name, component) for name, component in wanted if name in names]
    with Remote(loaded) as remote:
        if follow:
            entries = journals.follow(remote, wanted, since)
        else:
            lines, lost = journals.read(remote, wanted, since)
            entries = iter([*lines, *lost])
        for entry in entries:
            if isinstance(entry, LabError):
                tell(f"error: {entry}")
            else:
                print(codec.dumps(entry.as_json()) if json else entry, flush=follow)
