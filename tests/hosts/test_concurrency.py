"""concurrency on the lab: a shell's pipeline judged by awk, and so are the units' files."""

from __future__ import annotations

from typing import Any

import pytest

testinfra_hosts = ["ansible://concurrency_pipeline"]
PROGRAM = "/opt/distlab/bin/python -m apps.concurrency"
AWKS = "awk 'BEGIN { for (n = %d; n <= %d; n++) print n, n * n; print \"end\" }'"
"""The same file, made without us."""
STATE = "/var/lib/private/lab-concurrency-pipeline"


@pytest.fixture
def file(host: Any) -> Any:
    """A file that is gone afterwards."""
    name = host.check_output("mktemp --dry-run --tmpdir distlab-test-XXXXXX")
    yield name
    host.check_output(f"rm -f {name}")


def test_the_filters_agree_with_awk(host: Any, file: str) -> None:
    filters = f"{PROGRAM} generate 1 300 | {PROGRAM} square | {PROGRAM} store {file}"
    host.check_output(filters)
    assert host.check_output(f"cat {file}") == host.check_output(AWKS % (1, 300))


def test_the_supervised_pipeline_agrees_with_awk(host: Any, file: str) -> None:
    host.check_output(f"{PROGRAM} process-pipeline --count 300 --workers 3 --file {file}")
    kept = host.check_output(f"(head -n -1 {file} | sort -n; tail -n 1 {file})")
    assert kept == host.check_output(AWKS % (1, 300))


def test_a_worker_may_be_killed(host: Any, file: str) -> None:
    script = (
        f"{PROGRAM} process-pipeline --count 60 --delay 0.05 --file {file} --json > {file}.log & "
        f"until grep -q '\"progress\"' {file}.log; do sleep 0.05; done; "
        f'kill -KILL $(sed -n \'s/.*worker-2.1","pid":\\([0-9]*\\).*/\\1/p\' {file}.log); '
        f"wait $!; status=$?; grep -c '\"redone\"' {file}.log; rm {file}.log; exit $status"
    )
    assert int(host.check_output(f"timeout 60 sh -c {_quoted(script)}")) >= 1
    kept = host.check_output(f"head -n -1 {file} | sort -n")
    assert kept + "\nend" == host.check_output(AWKS % (1, 60))


@pytest.mark.parametrize(
    ("said", "status"),
    [("printf '1\\n2\\n'", 5), ("printf 'nut\\nend\\n'", 4), ("head -c 100000 /dev/zero", 4)],
)
def test_what_is_no_line_or_no_end_is_told(host: Any, said: str, status: int) -> None:
    assert host.run(f"{said} | {PROGRAM} square").rc == status


@pytest.fixture
def small(host: Any) -> Any:
    """A disk of one page; gone afterwards."""
    name = host.check_output("mktemp --directory --tmpdir distlab-test-XXXXXX")
    host.check_output(f"sudo -n mount -t tmpfs -o size=4k,mode=1777 tmpfs {name}")
    yield name
    host.check_output(f"sudo -n umount {name} && rmdir {name}")


def test_a_full_disk_is_told_and_nothing_is_acknowledged_that_is_not_there(
    host: Any, small: str
) -> None:
    filters = f"{PROGRAM} generate 1 5000 | {PROGRAM} square | {PROGRAM} store {small}/squares.txt"
    done = host.run(filters)
    assert done.rc == 4
    assert "No space left on device" in done.stderr
    kept = host.check_output(f"wc -l < {small}/squares.txt")
    assert done.stdout.count("stored") <= int(kept)


def test_what_is_no_file_is_refused(host: Any) -> None:
    done = host.run(f"{PROGRAM} generate 1 3 | {PROGRAM} store /dev/zero")
    assert done.rc == 4
    assert "is no file" in done.stderr


def test_the_units_files_agree_with_awk(host: Any) -> None:
    """Of every round that was closed, whatever befell the unit before."""
    script = (
        f"cd {STATE}; for file in squares-*.txt; do "
        'if [ "$(tail -n 1 $file)" = end ]; then '
        "range=${file#squares-}; range=${range%.txt}; "
        "head -n -1 $file | sort -n | awk -v first=${range%-*} -v last=${range#*-} "
        "'$1 != first + NR - 1 || $2 != $1 * $1 { exit 1 } "
        "END { if (NR != last - first + 1) exit 1; print NR }' || echo wrong $file; fi; done"
    )
    found = host.check_output(f"sudo -n sh -c {_quoted(script)}").splitlines()
    assert found
    assert "wrong" not in " ".join(found)


def test_the_unit_ends_its_stages_and_begins_where_it_was(host: Any) -> None:
    stopped = "sudo -n systemctl stop lab-concurrency-pipeline"
    with_state = "systemctl show --property=Result --value lab-concurrency-pipeline"
    assert host.check_output(f"{stopped}; {with_state}") == "success"
    assert host.run("pgrep -f '[a]pps.concurrency.filters'").rc == 1
    host.check_output("sudo -n systemctl start lab-concurrency-pipeline")


def _quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"
