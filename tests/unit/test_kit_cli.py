"""The command line: options and environment, exit statuses, and what a person types."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, PeerType, listens, typed
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from tests.loopback import PATIENCE

ROOT = Path(__file__).parents[2]
FAILURES: dict[str, CallFailed] = {
    "refused": Refused("nobody there"),
    "rejected": Rejected("not so"),
    "unknown": Unknown("no answer"),
}


def pattern() -> tuple[Pattern, dict[str, Any]]:
    """Give a pattern of two commands, and what they were given."""
    cli = Pattern("two_words", "A pattern of two words.")
    given: dict[str, Any] = {}

    @cli.component
    @listens(7000)
    @click.option("--peer", "peers", type=PeerType(), multiple=True)
    @click.option("--tag", "tags", multiple=True)
    @click.option("--big-limit", type=click.IntRange(1), default=5)
    def log_master(events: Events, /, **options: Any) -> None:
        """Serve."""
        given.update(options, events=events)

    @cli.client
    @click.argument("server", type=AddressType(7000))
    @click.argument("how", default="well")
    def client(events: Events, server: Address, how: str) -> None:
        """Ask SERVER."""
        events.say("for a person")
        events.emit("for_programs", server=str(server))
        if how in FAILURES:
            raise FAILURES[how]

    return cli, given


def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[Result, dict[str, Any]]:
    cli, given = pattern()
    return CliRunner().invoke(cli, arguments, env=env), given


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("well", 0, ""),
        ("refused", 3, "refused: nobody there\n"),
        ("rejected", 4, "rejected: not so\n"),
        ("unknown", 5, "unknown: no answer\n"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_client_ends_with_what_is_known(
    how: str, status: int, said: str, flags: list[str]
) -> None:
    result, _ = run("client", "n1", how, *flags)
    assert result.exit_code == status
    assert result.stderr == said
    if flags:
        (event,) = map(json.loads, result.stdout.splitlines())
        assert event["event"] == "for_programs"
        assert event["pattern"] == "two_words"
        assert event["component"] == "client"
    else:
        assert result.stdout == "for a person\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["client"], "Missing argument 'SERVER'"),
        (["client", "n1:x"], "needs a port from 1 to 65535, as in n1:80"),
        (["client", "n1", "--brief"], "--brief chooses among the events"),
        (["log-master", "--port", "0"], "0 is not in the range 1<=x<=65535"),
        (["log-master", "--peer", "n2:7000"], "'n2:7000' is not name=host:port"),
        (["log-master", "--peer", "n2=n2"], "needs a port"),
        (["log-master", "--big-limit", "much"], "is not a valid integer"),
        (["nothing"], "No such command 'nothing'"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_says_why(arguments: list[str], says: str) -> None:
    result, _ = run(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_options_come_from_the_environment() -> None:
    environment = {
        "TWO_WORDS_LOG_MASTER_LISTEN": "198.18.0.11",
        "TWO_WORDS_LOG_MASTER_PORT": "7001",
        "TWO_WORDS_LOG_MASTER_PEERS": "n2=198.18.0.12:7001 n3=[::1]:7002",
        "TWO_WORDS_LOG_MASTER_TAGS": "a b  c",
        "TWO_WORDS_LOG_MASTER_BIG_LIMIT": "9",
        "TWO_WORDS_LOG_MASTER_NODE": "n9",
    }
    result, given = run("log-master", env=environment)
    assert result.exit_code == 0, result.output
    assert given.pop("events").node == "n9"
    assert given == {
        "listen": "198.18.0.11",
        "port": 7001,
        "peers": (("n2", Address("198.18.0.12", 7001)), ("n3", Address("::1", 7002))),
        "tags": ("a", "b", "c"),
        "big_limit": 9,
    }


def test_the_command_line_comes_before_the_environment() -> None:
    environment = {"TWO_WORDS_LOG_MASTER_PORT": "7001", "TWO_WORDS_LOG_MASTER_TAGS": "a"}
    _, given = run("log-master", "--port", "1", "--tag", "x y", "--tag", "z", env=environment)
    assert (given["port"], given["tags"]) == (1, ("x y", "z"))


def test_an_empty_list_in_the_environment_is_an_empty_list() -> None:
    _, given = run("log-master", env={"TWO_WORDS_LOG_MASTER_TAGS": ""})
    assert given["tags"] == ()


def test_a_wrong_value_in_the_environment_is_refused() -> None:
    result, _ = run("log-master", env={"TWO_WORDS_LOG_MASTER_PORT": "x"})
    assert result.exit_code == 2
    assert "Invalid value for '--port'" in result.stderr


def test_help_shows_defaults_and_where_they_come_from() -> None:
    result, _ = run("log-master", "--help")
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    assert "[env var: TWO_WORDS_LOG_MASTER_PORT; default: 7000; 1<=x<=65535]" in shown
    assert "[env var: TWO_WORDS_LOG_MASTER_NODE; default: (this host's name)]" in shown


def test_components_are_known_and_clients_are_none() -> None:
    cli, _ = pattern()
    assert list(cli.components) == ["log-master"]
    assert sorted(cli.commands) == ["client", "log-master"]


# What is typed

TYPED = """
import asyncio
from apps.kit.cli import typed
async def main():
    for line in typed("> "):
        print(ascii(line), flush=True)
        await asyncio.sleep(0)
"""


def typing(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", TYPED + code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_lines_come_until_the_end_be_they_utf8_or_not() -> None:
    with typing("asyncio.run(main())") as process:
        out, err = process.communicate("a\r\nü\n".encode() + b"\xff\n\nlast", PATIENCE)
    assert out.decode().splitlines() == ["'a'", "'\\xfc'", "'\\udcff'", "''", "'last'"]
    assert (process.returncode, err) == (0, b"")


def test_ctrl_c_interrupts_who_waits_for_a_line() -> None:
    code = "import click\nclick.command(lambda: asyncio.run(main()))()"
    with typing(code) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"'one'\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 1
        assert process.stderr is not None
        assert process.stderr.read().split() == [b"Aborted!"]


def test_the_loops_own_handler_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    cli = Pattern("p", "A pattern.")
    handlers = []

    @cli.client
    def client(events: Events) -> None:
        """Read two lines."""
        for line in typed("> "):
            events.say(line)
            handlers.append(signal.getsignal(signal.SIGINT))

    assert CliRunner().invoke(cli, ["client"], input="a\nb\n").output == "a\nb\n"
    assert handlers == [before, before]


def test_a_block_of_the_help_stays_as_it_is_written() -> None:
    cli = Pattern("p", "About.")

    @cli.client
    def client(events: Events) -> None:
        r"""Do it.

        \b
        this     one thing
        that     another
        """

    shown = CliRunner().invoke(cli, ["client", "--help"]).output
    assert "  this     one thing\n  that     another\n" in shown
