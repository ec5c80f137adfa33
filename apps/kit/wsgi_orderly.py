"""Gunicorn's threaded worker, which ends by its main loop alone, whichever signal asks it to."""

from __future__ import annotations

from types import FrameType

from gunicorn.workers.gthread import ThreadWorker


class OrderlyWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker that Ctrl-C cannot hang."""

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """End as on SIGTERM: what is being answered is answered, a kept connection has 2 s.

        Gunicorn's own shuts the pool down right in the handler. Ctrl-C reaches a worker twice, from
        the terminal and from gunicorn's parent, and the second handler, run on top of the first,
        may wait for ever for the pool's lock, which the first one holds.
        """
        self.handle_exit(sig, frame)
