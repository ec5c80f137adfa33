"""The command line of a pattern: `python -m apps.<pattern> <component or client> …`.

Every option may also come from the environment as `<PATTERN>_<COMMAND>_<OPTION>`, which is how a
unit's options file gives them; a component's `--help` shows it. A failed call ends with the exit
status of what is known: 3 refused, 4 rejected, 5 unknown (see `apps.kit.outcome`); 2 is a wrong
command line.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import math
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import click

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import CallFailed
from apps.kit.summary import Load

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])

PORT = click.IntRange(1, 65535)


class AddressType(click.ParamType[Address]):
    """`host:port`, or `host` alone where there is a default port."""

    name = "host[:port]"

    def __init__(self, default_port: int | None = None) -> None:
        """`default_port` is taken where none is written."""
        self._default_port = default_port

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """Read the address; the error says what is wrong with it."""
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(str(value), self._default_port)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class AddressesType(click.ParamType[tuple[Address, ...]]):
    """`host:port,host:port`, or hosts alone where there is a default port."""

    name = "host[:port],…"

    def __init__(self, default_port: int | None = None) -> None:
        """`default_port` is taken where none is written."""
        self._default_port = default_port

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Address, ...]:
        """Read the addresses; the error says what is wrong with which."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(
                Address.parse(one.strip(), self._default_port) for one in str(value).split(",")
            )
        except ValueError as error:
            self.fail(str(error), param, ctx)


class UrlType(AddressType):
    """`http://host:port`, of which all but the host may be left out."""

    name = "http://host[:port]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """Read the address; the error says what is wrong with it."""
        if isinstance(value, str):
            value = value.removeprefix("http://").removesuffix("/")
        return super().convert(value, param, ctx)


class PeerType(click.ParamType[tuple[str, Address]]):
    """`name=host:port`."""

    name = "name=host:port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Address]:
        """Read the pair; the error says what is wrong with it."""
        if isinstance(value, tuple):
            return value
        name, equals, address = str(value).partition("=")
        try:
            if not name or not equals:
                raise ValueError(f"{value!r} is not name=host:port")
            return name, Address.parse(address)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Call(click.Command):
    """A command that ends with the exit status of what is known about a failed call."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; a failed call is one line for a person, and its exit status."""
        try:
            return super().invoke(ctx)
        except CallFailed as error:
            click.echo(f"{type(error).__name__.lower()}: {error}", err=True)
            ctx.exit(error.exit_status)


class Pattern(click.Group):
    """The commands of one pattern: its components, and the clients a person types."""

    def __init__(self, name: str, about: str | None) -> None:
        """`about` is the pattern's docstring."""
        super().__init__(
            name=name,
            help=about,
            context_settings={
                "auto_envvar_prefix": name.upper(),
                "show_default": True,
                "help_option_names": ["-h", "--help"],
                "max_content_width": 100,
            },
        )
        self.pattern = name
        self.components: dict[str, click.Command] = {}

    def component(
        self, function: Callable[Concatenate[Events, P], None]
    ) -> Callable[Concatenate[Events, P], None]:
        """Register a service: it gets its `Events` first, and its options."""
        command = self._register(function, click.Command, as_client=False)
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                parameter.show_envvar = True
        self.components[str(command.name)] = command
        return function

    def client(
        self, function: Callable[Concatenate[Events, P], None]
    ) -> Callable[Concatenate[Events, P], None]:
        """Register a client: as a component, with `--json` for programs, `--brief` to measure."""
        self._register(function, Call, as_client=True)
        return function

    def _register(
        self,
        function: Callable[Concatenate[Events, P], None],
        kind: type[click.Command],
        *,
        as_client: bool,
    ) -> click.Command:
        name = function.__name__.replace("_", "-")

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            node = str(kwargs.pop("node"))
            text = as_client and not kwargs.pop("json")
            only = ("summary",) if as_client and kwargs.pop("brief") else None
            if text and only:
                raise click.UsageError("--brief chooses among the events: it goes with --json")
            function(Events(self.pattern, name, node, text=text, only=only), *args, **kwargs)

        # Click's mark of a block that is not to be wrapped, as a raw docstring has it.
        about = inspect.cleandoc(function.__doc__ or "").replace("\\b\n", "\b\n")
        command = click.command(name, cls=kind, help=about)(run)
        command.params.append(
            click.Option(
                ["--node"],
                default=socket.gethostname,
                show_default="this host's name",
                help="Who writes the events.",
            )
        )
        if as_client:
            command.params += [
                click.Option(["--json"], is_flag=True, help="Events for programs, one a line."),
                click.Option(["--brief"], is_flag=True, help="With --json: the summary alone."),
            ]
        self.add_command(command)
        return command


def listens(default_port: int) -> Callable[[F], F]:
    """Add the options of a listener: `--listen`, `--port`."""

    def add(function: F) -> F:
        function = click.option(
            "--port", type=PORT, default=default_port, help="Port to listen on."
        )(function)
        return click.option(
            "--listen", default="127.0.0.1", help="Address to listen on; on a host, the lab's."
        )(function)

    return add


def serves_http(default_port: int, *, body_limit: int = 65536) -> Callable[[F], F]:
    """Add the options of a server of HTTP; the function gets them as `serving`, a `Serving`."""

    def add(function: F) -> F:
        @functools.wraps(function)
        def collected(
            *args: Any,
            listen: str,
            port: int,
            workers: int,
            threads: int,
            connections: int,
            patience: float,
            body_limit: int,
            **kwargs: Any,
        ) -> Any:
            from apps.kit.wsgi import Serving

            address = Address(listen, port)
            serving = Serving(address, workers, threads, connections, patience, body_limit)
            return function(*args, serving=serving, **kwargs)

        most = click.IntRange(1)
        slow = "Seconds that a request may take to arrive, and its answer to be taken."
        for option in (
            click.option(
                "--body-limit", type=most, default=body_limit, help="Longest body, in bytes."
            ),
            click.option("--patience", type=click.FloatRange(0.1), default=5.0, help=slow),
            click.option(
                "--connections",
                type=click.IntRange(2),
                default=1000,
                help="Most connections of a process.",
            ),
            click.option("--threads", type=most, default=16, help="Threads of each process."),
            click.option("--workers", type=most, default=1, help="Processes that answer."),
            listens(default_port),
        ):
            collected = option(collected)
        return cast("F", collected)

    return add


def loads(function: F) -> F:
    """Add the options of a load: `--count`, `--for`, `--callers`, `--think`, `--seed`.

    The function gets them as `load`, a `Load`, or None where neither count nor time is given.
    """

    @functools.wraps(function)
    def collected(
        *args: Any,
        count: int | None,
        seconds: float | None,
        callers: int,
        think: float,
        seed: int,
        **kwargs: Any,
    ) -> Any:
        endless = count is None and seconds is None
        load = Load(count, callers, think, seed, math.inf if seconds is None else seconds)
        return function(*args, load=None if endless else load, **kwargs)

    most = click.IntRange(1)
    for option in (
        click.option("--seed", default=0, help="With --count or --for: of all that is random."),
        click.option(
            "--think",
            type=click.FloatRange(0.0),
            default=0.0,
            help="With --count or --for: seconds that a caller rests between two calls.",
        ),
        click.option(
            "--callers", type=most, default=1, help="With --count or --for: so many at once."
        ),
        click.option(
            "--for",
            "seconds",
            type=click.FloatRange(0.0),
            help="Make up calls for so many seconds, make them and sum up.",
        ),
        click.option("--count", type=most, help="Make up so many calls, make them and sum up."),
    ):
        collected = option(collected)
    return cast("F", collected)


class Misspelt(ValueError):
    """What a person typed is no command; the text says what is wrong and what would be right."""


def split(line: str) -> list[str]:
    """Split a line into words as a shell does; Misspelt."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise Misspelt(f"{line!r}: {error}; quote as in a shell") from None


def converse(events: Events, lines: Iterable[str], do: Callable[[str], None]) -> None:
    """Do line after line; what is misspelt or fails is said, and the next one comes."""
    for line in lines:
        if not line.strip():
            continue
        try:
            do(line)
        except Misspelt as error:
            events.say(str(error))
        except CallFailed as error:
            events.say(f"{type(error).__name__.lower()}: {error}")


def typed(prompt: str) -> Iterator[str]:
    """Yield the lines of standard input, with a prompt where a person types, until Ctrl-D.

    Bytes that are no UTF-8 come as `surrogateescape` has them, as in arguments.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    person = sys.stdin.isatty()
    while True:
        if person:
            click.echo(prompt, nl=False)
        with _interruptible():
            line = sys.stdin.readline()
        if not line:
            return
        yield line.rstrip("\r\n")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt a read: asyncio's handler would cancel a task that cannot notice."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
