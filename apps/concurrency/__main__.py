"""Work shared in one host: `generate | square | store` are processes, and so is `pipeline`.

`pipeline` and `pool` are units that work round after round, the one by processes and pipes, the
other by threads and a queue; `process-pipeline` and `thread-pool` work once, for a person.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from apps.concurrency import filters
from apps.concurrency.compare import compare as measure
from apps.concurrency.core import Rules
from apps.concurrency.pool import Crasher, PoolRound, PoolRules, ThreadPool
from apps.concurrency.results import Round, read
from apps.concurrency.rounds import Rounds, Threads, Working, work_once
from apps.concurrency.supervisor import Crew, Supervisor
from apps.kit.cli import Call, Pattern
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.outcome import Unknown
from apps.kit.store import state_directory

cli = Pattern("concurrency", __doc__)

MANY = click.IntRange(1, 64)
COUNT = click.IntRange(1, 1_000_000)
SECONDS = click.FloatRange(0.0)
PATIENCE = click.FloatRange(0.1)
FILE = click.Path(dir_okay=False, path_type=Path)


@cli.component
@click.option("--workers", type=MANY, default=4, help="Processes that square.")
@click.option("--window", type=MANY, default=4, help="Numbers that a worker is handed at once.")
@click.option("--attempts", type=MANY, default=5, help="Workers that may die of one number.")
@click.option("--delay", type=SECONDS, default=0.1, help="Seconds that each number takes longer.")
@click.option(
    "--patience", type=PATIENCE, default=2.0, help="Seconds after which a stuck stage is killed."
)
@click.option("--count", type=COUNT, default=160, help="Numbers of a round.")
@click.option("--rest", type=SECONDS, default=30.0, help="Seconds between two rounds.")
@click.option("--keep", type=click.IntRange(1), default=20, help="Rounds whose files stay.")
def pipeline(
    events: Events,
    *,
    workers: int,
    window: int,
    attempts: int,
    delay: float,
    patience: float,
    count: int,
    rest: float,
    keep: int,
) -> None:
    """Work rounds: generator, workers and storage are processes, joined by pipes."""
    crew = Crew(workers, delay, patience, Rules(window, attempts))

    def begin(round_: Round) -> Working:
        return Supervisor(events, round_, crew)

    _serve(events, begin, count, rest, keep)


@cli.component
@click.option("--consumers", type=MANY, default=4, help="Threads that square.")
@click.option("--capacity", type=MANY, default=8, help="Numbers that the queue holds.")
@click.option("--attempts", type=MANY, default=5, help="Consumers that may die of one number.")
@click.option("--delay", type=SECONDS, default=0.1, help="Seconds that each number takes longer.")
@click.option("--count", type=COUNT, default=120, help="Numbers of a round.")
@click.option("--rest", type=SECONDS, default=10.0, help="Seconds between two rounds.")
@click.option("--keep", type=click.IntRange(1), default=20, help="Rounds whose files stay.")
def pool(
    events: Events,
    *,
    consumers: int,
    capacity: int,
    attempts: int,
    delay: float,
    count: int,
    rest: float,
    keep: int,
) -> None:
    """Work rounds: producer and consumers are threads, joined by a queue."""
    rules = PoolRules(consumers, capacity, attempts)

    def begin(round_: Round) -> Working:
        numbers = range(round_.first, round_.last + 1)
        threads = ThreadPool(events, numbers, rules, Crasher(delay))
        return Threads(PoolRound(events, round_, threads))

    _serve(events, begin, count, rest, keep)


@cli.client
@click.option("--first", default=1, help="The first number.")
@click.option("--count", type=COUNT, default=100, help="Numbers to square.")
@click.option("--workers", type=MANY, default=4, help="Processes that square.")
@click.option("--window", type=MANY, default=4, help="Numbers that a worker is handed at once.")
@click.option("--attempts", type=MANY, default=5, help="Workers that may die of one number.")
@click.option("--delay", type=SECONDS, default=0.0, help="Seconds that each number takes longer.")
@click.option(
    "--patience", type=PATIENCE, default=5.0, help="Seconds after which a stuck stage is killed."
)
@click.option("--file", type=FILE, help="Keep the squares here, and go on where it stops.")
def process_pipeline(
    events: Events,
    *,
    first: int,
    count: int,
    workers: int,
    window: int,
    attempts: int,
    delay: float,
    patience: float,
    file: Path | None,
) -> None:
    """Square numbers by processes: a generator, workers, a storage, and who watches over them."""
    if delay >= patience:
        raise click.UsageError("what takes --delay is killed after --patience: let that be longer")
    crew = Crew(workers, delay, patience, Rules(window, attempts))
    with _kept_in(file) as path:
        round_ = Round(first, first + count - 1, path)
        _work_once(events, round_, Supervisor(events, round_, crew))


@cli.client
@click.option("--first", default=1, help="The first number.")
@click.option("--count", type=COUNT, default=100, help="Numbers to square.")
@click.option("--consumers", type=MANY, default=4, help="Threads that square.")
@click.option("--capacity", type=MANY, default=8, help="Numbers that the queue holds.")
@click.option("--attempts", type=MANY, default=5, help="Consumers that may die of one number.")
@click.option("--delay", type=SECONDS, default=0.0, help="Seconds that each number takes longer.")
@click.option(
    "--crash-at", type=int, multiple=True, help="The first consumer to take this number dies."
)
@click.option("--always", is_flag=True, help="With --crash-at: not the first alone, but all.")
@click.option("--file", type=FILE, help="Keep the squares here.")
def thread_pool(
    events: Events,
    *,
    first: int,
    count: int,
    consumers: int,
    capacity: int,
    attempts: int,
    delay: float,
    crash_at: tuple[int, ...],
    always: bool,
    file: Path | None,
) -> None:
    """Square numbers by threads: a producer, consumers, a queue and a list."""
    rules = PoolRules(consumers, capacity, attempts)
    crasher = Crasher(delay, crash_at, always=always)
    with _kept_in(file) as path:
        round_ = Round(first, first + count - 1, path)
        threads = ThreadPool(events, range(first, first + count), rules, crasher)
        _work_once(events, round_, Threads(PoolRound(events, round_, threads)))


@cli.client
@click.option("--tasks", type=MANY, default=8, help="Pieces of work.")
@click.option("--workers", type=MANY, default=4, help="Threads, and processes.")
@click.option("--seconds", type=click.FloatRange(0.001, 60), default=0.2, help="Of each piece.")
def compare(events: Events, *, tasks: int, workers: int, seconds: float) -> None:
    """Measure threads against processes, on work that computes and on work that waits."""
    measure(events, tasks=tasks, workers=workers, seconds=seconds)


@cli.command(cls=Call)
@click.argument("first", type=int)
@click.argument("last", type=int)
def generate(first: int, last: int) -> None:
    """Write the numbers from FIRST to LAST, one a line, and `end`."""
    filters.run("generate", str(first), str(last))


@cli.command(cls=Call)
@click.option("--delay", type=SECONDS, default=0.0, help="Seconds that each number takes longer.")
def square(delay: float) -> None:
    """Read numbers, one a line, and write each with its square, until `end`."""
    filters.run("square", str(delay))


@cli.command(cls=Call)
@click.argument("file", type=FILE)
def store(file: Path) -> None:
    """Read numbers and squares until `end`, keep each once in FILE, and say which are kept."""
    filters.run("store", str(file))


def _serve(
    events: Events, begin: Callable[[Round], Working], count: int, rest: float, keep: int
) -> None:
    rounds = Rounds(events, state_directory(), begin, count=count, rest=rest, keep=keep)
    run_service(events, rounds)


def _work_once(events: Events, round_: Round, working: Working) -> None:
    """Work, and show the squares; Ctrl-C and SIGTERM end it in good order."""
    done = asyncio.run(work_once(events, round_, working))
    pairs, _ = read(round_.path) if round_.path.exists() else ([], False)
    for number, squared in sorted(pairs):
        events.say(f"{number}² = {squared}")
    if not done:
        raise Unknown(f"ended early: {len(pairs)} of {round_.size} squares are kept")


@contextmanager
def _kept_in(file: Path | None) -> Iterator[Path]:
    """Give the file, or one that is gone afterwards."""
    if file is not None:
        yield file
        return
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "squares.txt"


cli.commands["generate"].ignore_unknown_options = True  # so that -3 is a number

if __name__ == "__main__":
    cli()
