"""A directory as a file system of its own, on a disk that is full, slow, or forgetful.

Every operation is passed to the directory below, by root, for whoever the kernel says may do it
(`default_permissions`). Names, sizes, owners and modes are durable at once; of what a file holds,
a disk that forgets keeps in memory what was not synced (`Unsynced`), as a page cache does: readers
see it, and `forget` loses it.

The methods are those that mfusepy calls, by the names of fuse(4)'s operations; an OSError is the
answer to the caller. They need no mount: tests call them on a plain directory.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from lab.faults.onhost.space import Space
from lab.faults.onhost.unsynced import Unsynced

MOST_UNSYNCED = 64 * 2**20
"""Bytes of one file that are kept unsynced; a kernel writes back as well, sooner or later."""
_ENDLESS = float("inf")
_NOT_OURS = os.O_APPEND | os.O_DIRECT | os.O_EXCL | os.O_TRUNC | os.O_NOFOLLOW | os.O_ACCMODE
"""Flags of an open that the kernel has dealt with, or that are dealt with here."""
_UTIME_NOW = 2**30 - 1
_UTIME_OMIT = 2**30 - 2

Entry = tuple[str, Mapping[str, int], int]
"""A name, what it names (its type and inode matter), and 0."""
Caller = Callable[[], tuple[int, int, int]]
"""Gives user, group and process of who asked for the operation under way."""


class Passthrough:
    """The file system over one directory."""

    use_ns = True
    """Times are in nanoseconds."""

    def __init__(
        self, root: int, caller: Caller, *, free: float = _ENDLESS, delay: float, forgets: bool
    ) -> None:
        """`root` is the open directory, `free` the bytes that it takes, `delay` is in seconds."""
        self.root = root
        self._caller = caller
        self._below = f"/proc/self/fd/{root}"
        self._space = Space(free)
        self._delay = delay
        self._forgets = forgets
        self._lock = threading.RLock()
        self._unsynced: dict[int, Unsynced] = {}
        """By inode number; no inode is used anew while its file is open in `_kept_open`."""
        self._kept_open: dict[int, int] = {}
        self._open: set[int] = set()
        self._dead: set[int] = set()
        """Files that were open when the disk forgot: what still comes from them is lost, too."""

    # What is done to the disk itself

    def state(self) -> dict[str, Any]:
        """Tell how it is."""
        with self._lock:
            left = self._space.left
            return {
                "root": self.root,
                "left": None if left == _ENDLESS else left,
                "unsynced": sum(map(len, self._unsynced.values())),
            }

    def forget(self) -> int:
        """Lose what was not synced, and whatever comes from a file that is open now; the bytes."""
        with self._lock:
            lost = sum(map(len, self._unsynced.values()))
            for inode in list(self._unsynced):
                self._drop(inode)
            self._dead |= self._open
        return lost

    def mend(self) -> None:
        """Be a good disk from now on: no limit, no delay, nothing unsynced."""
        with self._lock:
            self._space, self._delay, self._forgets = Space(_ENDLESS), 0.0, False
            for inode in list(self._unsynced):
                self._write_through(inode)

    def destroy(self, _path: str) -> None:
        """Be unmounted."""
        self.mend()

    # What files hold

    def create(self, path: str, mode: int, flags: int) -> int:
        """Make a file for the caller, and open it."""
        user, group, _ = self._caller()
        with self._lock:
            self._space.add_name()
            try:
                opened = os.open(self._at(path), _flags(flags) | os.O_CREAT | os.O_EXCL, mode)
            except OSError as error:
                self._space.remove_name(0)
                if isinstance(error, FileExistsError) and not flags & os.O_EXCL:
                    return self.open(path, flags)  # somebody else was quicker to make it
                raise
            os.fchown(opened, user, group)
            self._open.add(opened)
        return opened

    def open(self, path: str, flags: int) -> int:
        """Open a file."""
        with self._lock:
            if flags & os.O_TRUNC:
                self.truncate(path, 0)
            opened = os.open(self._at(path), _flags(flags))
            self._open.add(opened)
        return opened

    def release(self, _path: str, opened: int) -> None:
        """Close a file; what is unsynced of it stays so."""
        with self._lock:
            self._open.discard(opened)
            self._dead.discard(opened)
            os.close(opened)

    def read(self, _path: str, size: int, offset: int, opened: int) -> bytes:
        """Give what was synced, under what was not."""
        with self._lock:
            below = os.pread(opened, size, offset)
            unsynced = self._unsynced.get(os.fstat(opened).st_ino)
            return unsynced.merged(offset, size, below) if unsynced else below

    def write(self, _path: str, data: bytes, offset: int, opened: int) -> int:
        """Write as much as there is room for; ENOSPC if there is none."""
        time.sleep(self._delay)
        with self._lock:
            if opened in self._dead:
                return len(data)
            status = os.fstat(opened)
            size = self._size(status)
            reach = self._space.reach(size)
            if offset < reach < offset + len(data):
                data = data[: int(reach) - offset]
            end = max(size, offset + len(data))
            self._space.resize(size, end)
            if not self._forgets:
                return _write_all(opened, data, offset)
            unsynced = self._keep(status.st_ino, opened)
            unsynced.write(offset, data)
            if len(unsynced) > MOST_UNSYNCED:
                self._write_through(status.st_ino)
            return len(data)

    def fsync(self, _path: str, _data_only: int, opened: int) -> None:
        """Write through what is unsynced of a file."""
        time.sleep(self._delay)
        with self._lock:
            if opened in self._dead:
                return
            self._write_through(os.fstat(opened).st_ino)
        os.fsync(opened)

    def truncate(self, path: str, size: int) -> None:
        """Cut a file, or lengthen it by a hole; durable at once."""
        with self._lock:
            status = os.lstat(self._at(path))
            before = self._size(status)
            self._space.resize(before, size)
            os.truncate(self._at(path), size)
            if status.st_ino in self._unsynced:
                self._unsynced[status.st_ino].truncate(size)

    # Names

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory for the caller."""
        self._make(path, lambda at: os.mkdir(at, mode))

    def symlink(self, path: str, target: str) -> None:
        """Make a symbolic link for the caller."""
        self._make(path, lambda at: os.symlink(target, at))

    def mknod(self, path: str, mode: int, device: int) -> None:
        """Make a socket, a pipe or an empty file for the caller."""
        self._make(path, lambda at: os.mknod(at, mode, device))

    def link(self, path: str, target: str) -> None:
        """Give a file a second name."""
        os.link(self._at(target), self._at(path), follow_symlinks=False)

    def unlink(self, path: str) -> None:
        """Remove a name, and the file with its last one."""
        with self._lock:
            status = os.lstat(self._at(path))
            os.unlink(self._at(path))
            self._gone(status)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        with self._lock:
            os.rmdir(self._at(path))
            self._space.remove_name(0)

    def rename(self, old: str, new: str) -> None:
        """Give a file or directory another name; what had that name is gone."""
        with self._lock:
            try:
                replaced = os.lstat(self._at(new))
            except FileNotFoundError:
                replaced = None
            same = replaced is not None and os.path.samestat(replaced, os.lstat(self._at(old)))
            os.rename(self._at(old), self._at(new))
            if replaced is not None and not same:
                self._gone(replaced)

    def readdir(self, path: str, _opened: int) -> list[Entry]:
        """List a directory."""
        at = self._at(path)
        dots = [_entry(name, os.lstat(f"{at}/{name}")) for name in (".", "..")]
        with os.scandir(at) as entries:
            return [*dots, *(_entry(e.name, e.stat(follow_symlinks=False)) for e in entries)]

    def fsyncdir(self, path: str, _data_only: int, _opened: int) -> None:
        """Sync a directory."""
        time.sleep(self._delay)
        directory = os.open(self._at(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def readlink(self, path: str) -> str:
        """Give where a symbolic link leads."""
        return os.readlink(self._at(path))

    # What is said of files

    def getattr(self, path: str, opened: int | None = None) -> Mapping[str, int]:
        """Give what stat(2) does."""
        with self._lock:
            known = opened is not None and opened in self._open
            status = os.fstat(opened) if known and opened else os.lstat(self._at(path))
            size = self._size(status)
        names = ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_blocks", "st_rdev")
        return {
            **{name: getattr(status, name) for name in names},
            "st_size": size,
            "st_atime": status.st_atime_ns,
            "st_mtime": status.st_mtime_ns,
            "st_ctime": status.st_ctime_ns,
        }

    def chmod(self, path: str, mode: int) -> None:
        """Change a mode."""
        os.chmod(self._at(path), mode)

    def chown(self, path: str, user: int, group: int) -> None:
        """Change an owner."""
        os.chown(self._at(path), user, group, follow_symlinks=False)

    def utimens(self, path: str, times: tuple[int, int]) -> None:
        """Change the times of a file."""
        status = os.lstat(self._at(path))
        now = time.time_ns()
        special = {_UTIME_NOW: (now, now), _UTIME_OMIT: (status.st_atime_ns, status.st_mtime_ns)}
        accessed, modified = (special.get(t, (t, t))[i] for i, t in enumerate(times))
        os.utime(self._at(path), ns=(accessed, modified), follow_symlinks=False)

    def statfs(self, path: str) -> Mapping[str, int]:
        """Give what statvfs(3) does; a disk that is full says so."""
        told = os.statvfs(self._at(path))
        names = ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree")
        shown = {name: int(getattr(told, name)) for name in (*names, "f_favail", "f_namemax")}
        left = self._space.left
        if left != _ENDLESS:
            shown["f_bfree"] = shown["f_bavail"] = int(left) // told.f_frsize
        return shown

    # With the lock held

    def _at(self, path: str) -> str:
        return f"{self._below}{path}" if path != "/" else f"{self._below}/."

    def _size(self, status: os.stat_result) -> int:
        unsynced = self._unsynced.get(status.st_ino)
        return max(status.st_size, unsynced.end) if unsynced else status.st_size

    def _keep(self, inode: int, opened: int) -> Unsynced:
        if inode not in self._unsynced:
            self._unsynced[inode] = Unsynced()
            self._kept_open[inode] = os.dup(opened)
        return self._unsynced[inode]

    def _drop(self, inode: int) -> None:
        del self._unsynced[inode]
        os.close(self._kept_open.pop(inode))

    def _write_through(self, inode: int) -> None:
        if inode in self._unsynced:
            kept_open = self._kept_open[inode]
            for offset, piece in self._unsynced[inode].pieces():
                _write_all(kept_open, piece, offset)
            os.fsync(kept_open)
            self._drop(inode)

    def _make(self, path: str, make: Callable[[str], None]) -> None:
        user, group, _ = self._caller()
        with self._lock:
            self._space.add_name()
            try:
                make(self._at(path))
            except OSError:
                self._space.remove_name(0)
                raise
            os.chown(self._at(path), user, group, follow_symlinks=False)

    def _gone(self, status: os.stat_result) -> None:
        """Take back what a file took whose name is gone, if that was its last one."""
        if stat.S_ISDIR(status.st_mode):
            self._space.remove_name(0)
        elif status.st_nlink == 1:
            regular = stat.S_ISREG(status.st_mode)
            self._space.remove_name(self._size(status) if regular else 0)
            if status.st_ino in self._unsynced:
                self._drop(status.st_ino)


def _entry(name: str, status: os.stat_result) -> Entry:
    return name, {"st_ino": status.st_ino, "st_mode": status.st_mode}, 0


def _flags(flags: int) -> int:
    # A file that is written can be read here too, and where to write is said each time.
    access = os.O_RDONLY if flags & os.O_ACCMODE == os.O_RDONLY else os.O_RDWR
    return flags & ~_NOT_OURS | access | os.O_NOFOLLOW | os.O_CLOEXEC


def _write_all(file: int, data: bytes, offset: int) -> int:
    written = 0
    while written < len(data):
        written += os.pwrite(file, data[written:], offset + written)
    return written
