"""Run on a host, in a directory: does its file system do what programs expect of one?

python3 on_a_disk.py DIRECTORY     says "as expected", or ends with what was not
"""

import contextlib
import errno
import fcntl
import mmap
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def fails(number: int, call: Callable[..., object], *arguments: object) -> None:
    raised = None
    try:
        call(*arguments)
    except OSError as error:
        raised = error.errno
    assert raised == number, (call, arguments, raised)


def content() -> None:
    one = Path("one")
    one.write_bytes(b"x" * 10_000)
    with one.open("ab", buffering=0) as file:
        file.write(b"yy")
        file.write(b"zz")
    assert one.read_bytes() == b"x" * 10_000 + b"yyzz"
    os.truncate(one, 5)
    os.truncate(one, 8)
    assert one.read_bytes() == b"xxxxx\0\0\0"
    one.open("w").close()
    assert one.stat().st_size == 0
    with one.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"end", 9000)
        assert one.read_bytes() == b"\0" * 9000 + b"end"
        os.fsync(file.fileno())
        os.fdatasync(file.fileno())
    assert one.read_bytes() == b"\0" * 9000 + b"end"


def mappings() -> None:
    with Path("map").open("w+b") as file:
        file.truncate(9000)
        with mmap.mmap(file.fileno(), 9000) as first, mmap.mmap(file.fileno(), 9000) as second:
            first[:5] = b"hello"
            second[8000:8005] = b"there"
            assert first[8000:8005] == b"there"
            first.flush()
            assert os.pread(file.fileno(), 5, 0) == b"hello"
    assert Path("map").read_bytes()[8000:8005] == b"there"


def lock_elsewhere() -> bool:
    other = "import fcntl, sys; fcntl.lockf(open('lock', 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    done = subprocess.run([sys.executable, "-c", other], check=False, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def locks() -> None:
    with Path("lock").open("w+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert not lock_elsewhere()
    assert lock_elsewhere()


def names() -> None:
    Path("old").write_text("old")
    Path("new").write_text("new")
    Path("new").replace("old")
    assert Path("old").read_text() == "new"
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)
    fails(errno.EEXIST, os.open, "old", os.O_CREAT | os.O_EXCL)
    fails(errno.ENOENT, os.stat, "new")
    Path("link").symlink_to("old")
    os.link("old", "second")
    assert str(Path("link").readlink()) == "old"
    assert Path("second").stat().st_nlink == 2
    Path("second").unlink()
    Path("directory").mkdir()
    Path("directory/in it").touch()
    fails(errno.ENOTEMPTY, os.rmdir, "directory")
    Path("directory").rename("moved")
    listed = {entry.name: entry.is_dir() for entry in os.scandir(".")}
    assert sorted(listed) == ["link", "lock", "map", "moved", "old", "one"]
    assert [name for name, is_directory in listed.items() if is_directory] == ["moved"]
    with Path("gone").open("w+b", buffering=0) as file:
        file.write(b"abc")
        Path("gone").unlink()
        assert not Path("gone").exists()
        file.write(b"def")
        assert os.pread(file.fileno(), 6, 0) == b"abcdef"


def owners() -> None:
    one = Path("one")
    one.chmod(0o640)
    os.chown(one, 1234, 1235)
    status = one.stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o640, 1234, 1235)
    os.utime(one, ns=(5, 6))
    assert one.stat().st_mtime_ns == 6
    os.utime(one)
    assert one.stat().st_mtime > 1e9
    os.mkfifo("pipe")
    assert shutil.disk_usage(".").total > 0


def databases() -> None:
    for number, mode in enumerate(("WAL", "DELETE", "TRUNCATE"), 1):
        with contextlib.closing(sqlite3.connect("items.db")) as writer:
            writer.execute(f"PRAGMA journal_mode={mode}")
            writer.execute("CREATE TABLE IF NOT EXISTS items (content)")
            for _ in range(10):
                with writer:
                    writer.executemany("INSERT INTO items VALUES (?)", [("x" * 100,)] * 20)
            with contextlib.closing(sqlite3.connect("items.db")) as reader:
                assert reader.execute("SELECT count(*) FROM items").fetchone() == (number * 200,)
                assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)


os.chdir(sys.argv[1])
Path("tried").mkdir()
try:
    os.chdir("tried")
    for part in (content, mappings, locks, names, owners, databases):
        part()
finally:
    os.chdir("..")
    shutil.rmtree("tried")
print("as expected")
