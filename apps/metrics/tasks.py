"""Tasks that a component cannot live without."""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
from typing import Any

from apps.kit.events import Events


def ends_process(task: asyncio.Task[Any], events: Events) -> None:
    """Have the process end if the task fails: systemd starts it anew, and the journal says why."""

    def ended(task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            events.emit("error", error="".join(traceback.format_exception(error)))
            os.kill(os.getpid(), signal.SIGTERM)

    task.add_done_callback(ended)
