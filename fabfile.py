"""The lab's verbs. `fab --list` names them, `fab --help VERB` explains one."""

from __future__ import annotations

import functools
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fabric import task
from invoke.context import Context
from invoke.exceptions import Exit

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # `fab` loads this file by path; lab/ and apps/ lie beside it

from lab.errors import LabError  # noqa: E402

F = TypeVar("F", bound=Callable[..., Any])

HELP = {
    "inventory": "Which hosts: a directory of inventory/.",
    "only": "Patterns, comma-separated; all if not given.",
    "json": "For programs: JSON on standard output.",
    "host": "Hosts, comma-separated; all if not given.",
}
LOCAL = "inventory/local"


def verb(*options: str, **more: str) -> Callable[[F], F]:
    """Make a function a verb: help for its options, and errors as two lines instead of a trace."""
    help_ = {name: HELP[name] for name in ("inventory", *options)} | more

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except LabError as error:
                raise Exit(f"error: {error}", code=2) from error
            except KeyboardInterrupt:
                raise Exit("interrupted", code=130) from None
            except BrokenPipeError:  # who read our output, `head` perhaps, has had enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise Exit(code=141) from None

        wrapped: F = task(guarded, help=help_)
        return wrapped

    return decorate


def _load(inventory: str) -> Any:
    from lab.hosts.inventory import load

    path = Path(inventory)
    return load(path.absolute() if path.exists() else ROOT / path)


def _tell(text: str) -> None:
    from lab.screen import progress

    progress.print(text, markup=False, soft_wrap=True)


@verb("json")
def up(c: Context, inventory: str = LOCAL, json: bool = False) -> None:
    """Boot the inventory's local hosts; those that run already are left alone."""
    from dataclasses import asdict

    from lab import hosts, screen

    states = hosts.up(_load(inventory), _tell)
    if json:
        screen.as_json([asdict(state) for state in states])


@verb(wipe="Remove the hosts' disks as well.")
def down(c: Context, inventory: str = LOCAL, wipe: bool = False) -> None:
    """Stop the inventory's local hosts; their disks stay unless wiped."""
    from lab import hosts

    hosts.down(_load(inventory), _tell, wipe=wipe)


@verb("only", check="Change nothing, show what would change.")
def deploy(
    c: Context,
    inventory: str = LOCAL,
    only: str = "",
    check: bool = False,
) -> None:
    """Deploy the patterns with Ansible, and wait until every unit serves."""
    from lab.catalogue import select
    from lab.deploy import play

    chosen = select(only) if only else ()
    play("deploy.yml", _load(inventory).path, chosen, check=check)


@verb("only")
def remove(c: Context, inventory: str = LOCAL, only: str = "") -> None:
    """Remove what deploy brought; of chosen patterns, or all of it, the hosts' preparation too."""
    from lab.catalogue import select
    from lab.deploy import play

    path = _load(inventory).path
    if only:
        play("remove-patterns.yml", path, select(only))
    else:
        play("remove.yml", path)


@verb("only", "json")
def status(c: Context, inventory: str = LOCAL, only: str = "", json: bool = False) -> None:
    """Show every unit on every host; exit status 1 unless all are active."""
    from lab import screen
    from lab.catalogue import select
    from lab.hosts.remote import Remote
    from lab.status import status as ask

    with Remote(_load(inventory)) as remote:
        units = ask(remote, select(only))
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


@verb("only", "json", seed="Of all that is random in the run; drawn and told if not given.")
def run_demo(
    c: Context,
    inventory: str = LOCAL,
    only: str = "",
    seed: int = -1,
    json: bool = False,
) -> None:
    """Play demos on the hosts and judge their claims; the evidence stays in runs/.

    Exit status: 0 all promised claims hold, 1 one is violated, 2 could not tell.
    """
    from lab import screen
    from lab.catalogue import select
    from lab.evidence.runs import Run, playable
    from lab.hosts.remote import Remote

    loaded = _load(inventory)
    chosen = playable(loaded, select(only))
    seed = seed if seed >= 0 else random.randrange(2**31)
    command = f"fab run-demo --inventory {inventory} --seed {seed}" + (
        f" --only {only}" if only else ""
    )
    what = "-".join(p.name for p in chosen) if len(chosen) <= 2 else "demos"
    with Remote(loaded) as remote:
        run = Run(remote, seed, command, what)
        _tell(f"seed {seed}, evidence in {run.path.relative_to(ROOT)}")
        try:
            for number, pattern in enumerate(chosen, 1):
                _tell(f"[{number}/{len(chosen)}] {pattern.name}: {pattern.about}")
                run.play(pattern, lambda text: _tell(f"    {text}"))
        except BaseException:
            run.finish("interrupted")
            raise
        code = run.finish()
    if json:
        screen.as_json([verdict.as_json() for verdict in run.verdicts])
    else:
        screen.table(
            ["pattern", "claim", "kind", "verdict", "what was seen"],
            [(v.pattern, v.claim, v.kind, v.verdict, v.detail) for v in run.verdicts],
        )
    raise Exit(code=code)


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

    loaded = _load(inventory)
    wanted = placed(loaded, select(only))
    if host:
        names = host.split(",")
        _known(names, loaded)
        wanted = [(name, component) for name, component in wanted if name in names]
    with Remote(loaded) as remote:
        if follow:
            entries = journals.follow(remote, wanted, since)
        else:
            lines, lost = journals.read(remote, wanted, since)
            entries = iter([*lines, *lost])
        for entry in entries:
            if isinstance(entry, LabError):
                _tell(f"error: {entry}")
            else:
                print(codec.dumps(entry.as_json()) if json else entry, flush=follow)


@verb(host="The host to log in to.")
def ssh(c: Context, host: str, inventory: str = LOCAL) -> None:
    """Log in to a host."""
    loaded = _load(inventory)
    _known([host], loaded)
    target = loaded.hosts[host]
    command = ["ssh", *target.ssh_args, "-p", str(target.port), "-l", target.user]
    command += ["-i", str(target.key)] if target.key else []
    os.execvp("ssh", [*command, target.login_host])  # noqa: S606  a terminal, handed over whole


def _known(names: list[str], loaded: Any) -> None:
    for name in names:
        if name not in loaded.hosts:
            raise LabError(
                f"there is no host {name!r} in {loaded.path}",
                f"choose from: {', '.join(loaded.hosts)}",
            )
