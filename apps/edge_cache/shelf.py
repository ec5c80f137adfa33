"""The cache on disk: one file an image, so that an edge that restarts is not empty.

Nothing here is the only copy of anything, so nothing is synced: a file that a crash left torn does
not have the digest that it says, and is dropped. A disk that is full or slow costs the files, never
an answer: writing is done by a thread of its own, and what does not get through is not kept.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from apps.edge_cache.wire import BadImage, BadRequest, Picture, image_id, picture_of
from apps.kit.events import Events

MOST_WAITING = 256
"""Files that wait to be written or removed; more are not kept."""


class Shelf:
    """Pictures in files of a directory."""

    def __init__(self, directory: Path, events: Events) -> None:
        """Use, or make, the directory."""
        self._directory = directory
        self._events = events
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shelf")
        self._room = threading.Semaphore(MOST_WAITING)
        directory.mkdir(exist_ok=True)

    def load(self) -> Iterator[tuple[int, Picture]]:
        """Give what is whole, the oldest file first; remove what is not."""
        files = list(self._directory.iterdir())
        for file in sorted(files, key=lambda file: file.stat().st_mtime):
            try:
                image = image_id(file.name)
                head, _, body = file.read_bytes().partition(b"\n")
                headers = json.loads(head)
                yield image, picture_of(body, headers)
            except (ValueError, AttributeError, OSError, BadImage, BadRequest) as error:
                self._events.emit("dropped", file=file.name, error=str(error))
                with contextlib.suppress(OSError):
                    file.unlink()

    def put(self, image: int, picture: Picture) -> None:
        """Keep a picture, some time soon."""
        self._later(lambda: self._write(image, picture))

    def drop(self, image: int) -> None:
        """Keep it no longer, some time soon."""
        self._later(lambda: self._path(image).unlink(missing_ok=True))

    def close(self) -> None:
        """Give up what waits."""
        self._writer.shutdown(wait=True, cancel_futures=True)

    def _later(self, work: Callable[[], None]) -> None:
        if self._room.acquire(blocking=False):
            self._writer.submit(work).add_done_callback(self._done)

    def _done(self, work: Future[None]) -> None:
        self._room.release()
        if not work.cancelled() and (error := work.exception()) is not None:
            self._events.bounded("not_kept", error=str(error))

    def _write(self, image: int, picture: Picture) -> None:
        temporary = self._directory / f"{image}.new"
        temporary.write_bytes(json.dumps(picture.headers).encode() + b"\n" + picture.body)
        temporary.replace(self._path(image))

    def _path(self, image: int) -> Path:
        return self._directory / str(image)
