"""What every verb has: the inventory it works on, help for its options, errors in two lines."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from fabric import task
from invoke.exceptions import Exit

from lab.errors import LabError

ROOT = Path(__file__).resolve().parent.parent
LOCAL = "inventory/local"
F = TypeVar("F", bound=Callable[..., Any])

HELP = {
    "inventory": "Which hosts: a directory of inventory/.",
    "only": "Patterns, comma-separated; all if not given.",
    "json": "For programs: JSON on standard output.",
    "host": "Hosts, comma-separated; all if not given.",
}


def verb(*options: str, **more: str) -> Callable[[F], F]:
    """Make a function a verb: help for its options, and errors as two lines instead of a trace."""

    def decorate(function: F) -> F:
        common = {"inventory"} & inspect.signature(function).parameters.keys()
        help_ = {name: HELP[name] for name in (*common, *options)} | more

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


def load(inventory: str) -> Any:
    """Read the inventory that `--inventory` names, from here or from the checkout."""
    from lab.hosts.inventory import load

    path = Path(inventory)
    return load(path.absolute() if path.exists() else ROOT / path)


def tell(text: str) -> None:
    """Show progress; standard output is for results."""
    from lab.screen import progress

    progress.print(text, markup=False, soft_wrap=True)


def choose(only: str, inventory: Any) -> tuple[Any, ...]:
    """Give the patterns of `--only` that the inventory's hosts can run; say what is left out."""
    from lab.catalogue import select

    named = select(only)
    able = tuple(pattern for pattern in named if pattern.name not in inventory.left_out)
    for pattern in named:
        if pattern not in able:
            tell(f"left out: {pattern.name}. {inventory.left_out[pattern.name]}")
    if not able:
        raise LabError(
            f"the hosts of {inventory.path} can run none of {only}",
            "the lines above say why; choose others, or hosts with another release of Debian",
        )
    return able


def known(names: Iterable[str], inventory: Any) -> None:
    """Refuse a host that the inventory does not have."""
    for name in names:
        if name not in inventory.hosts:
            raise LabError(
                f"there is no host {name!r} in {inventory.path}",
                f"choose from: {', '.join(inventory.hosts)}",
            )
