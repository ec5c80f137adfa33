"""The stages of a pipeline as filters: lines come in, lines go out, and the last line says so.

    generate    1, 2, 3, …, end
    square      1 1, 2 4, 3 9, …, end
    store       stored 1, …, ready, stored 2, stored 3, …, end

A pipe that ends without its last line comes of a stage that died, and what it would have said
nobody knows: without a sentinel, half of the numbers look like all of them. `stop` in place of
`end` means that no more come for now; then the file is not closed with `end`.

`python -m apps.concurrency.filters` is how the supervisor starts them. They import next to nothing
(a process a stage is started often), and leave Ctrl-C and SIGTERM to the supervisor: they end by
the last line, or with their pipe. `python -m apps.concurrency generate` and so on is for people.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from apps.concurrency.results import Results
from apps.kit.outcome import CallFailed, Rejected, Unknown

LAST = ("end", "stop")
MOST_DIGITS = 1000
_LONGEST = 4096
_NUMBER = re.compile(rf"-?[0-9]{{1,{MOST_DIGITS}}}")
_PAIR = re.compile(rf"(-?[0-9]{{1,{MOST_DIGITS}}}) ([0-9]{{1,{2 * MOST_DIGITS}}})")

Say = Callable[[str], None]


def generate(first: int, last: int, say: Say) -> None:
    """Say each number from `first` to `last`."""
    for number in range(first, last + 1):
        say(str(number))
    say("end")


def square(lines: Iterator[list[str]], say: Say, delay: float = 0.0) -> None:
    """Say each number and its square; `delay` seconds of waiting stand for work."""
    for batch in lines:
        for line in batch:
            if line in LAST:
                say(line)
                return
            if not _NUMBER.fullmatch(line):
                raise Rejected(f"{line[:40]!r} is no integer of at most {MOST_DIGITS} digits")
            number = int(line)
            if delay:
                time.sleep(delay)
            say(f"{number} {number * number}")


def store(lines: Iterator[list[str]], say: Say, path: Path) -> None:
    """Keep each number and its square in a file; say which are on the disk.

    As many as came at once are one write and one flush. A number that is there already is
    acknowledged and not written again.
    """
    with Results(path) as results:
        for number in results.numbers:
            say(f"stored {number}")
        say("ready")
        for batch in lines:
            last = batch.pop() if batch[-1] in LAST else None
            pairs = [_pair(line) for line in batch]
            results.keep(pairs)
            for number, _ in pairs:
                say(f"stored {number}")
            if last == "end":
                results.close_with_end()
            if last:
                say(last)
                return


def _pair(line: str) -> tuple[int, int]:
    found = _PAIR.fullmatch(line)
    if not found:
        raise Rejected(f"{line[:40]!r} is no number and its square")
    return int(found[1]), int(found[2])


def batches(pipe: int) -> Iterator[list[str]]:
    """Yield the lines of a pipe, as many at once as there are, up to the last line.

    Unknown if that never comes; Rejected if a line is too long.
    """
    rest = b""
    while chunk := os.read(pipe, 65536):
        *lines, rest = (rest + chunk).split(b"\n")
        if any(len(line) > _LONGEST for line in (*lines, rest)):
            raise Rejected(f"a line of more than {_LONGEST} bytes")
        texts = [line.decode("ascii", "backslashreplace").strip() for line in lines]
        last = next((place for place, text in enumerate(texts) if text in LAST), None)
        if last is not None:
            yield texts[: last + 1]
            return
        if texts:
            yield texts
    raise Unknown(
        "the stage before ended without saying so: what came was worked; whether it was all, "
        "nobody knows"
    )


def say_line(line: str) -> None:
    """Write a line to standard output, at once: the next stage waits for it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(stage: str, *options: str) -> None:
    """Be a stage, on standard input and output; options are positional, as the stages' own."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads is gone: end, as filters do
    match stage:
        case "generate":
            generate(int(options[0]), int(options[1]), say_line)
        case "square":
            square(batches(0), say_line, float(options[0]))
        case "store":
            store(batches(0), say_line, Path(options[0]))
        case _:
            raise ValueError(f"there is no stage {stage!r}")


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    try:
        run(*sys.argv[1:])
    except CallFailed as error:
        print(f"{sys.argv[1]}: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
