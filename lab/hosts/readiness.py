"""Wait until hosts let people in: sshd sends its banner, and in our image a login works by then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

# RFC 4253 section 4.2: the server's identification starts with these bytes.
_BANNER = b"SSH-2.0-"
# sshd logs an error about whoever leaves without a greeting.
_GREETING = b"SSH-2.0-distlab\r\n"
_TRY_SECONDS = 0.25
_PAUSE_SECONDS = 0.02
_LIFE_SECONDS = 0.5


async def answers(address: str, port: int = 22, seconds: float = _TRY_SECONDS) -> bool:
    """Whether an SSH server greets at the address within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                greeted = (await reader.readline()).startswith(_BANNER)
                writer.write(_GREETING)
                await writer.drain()
                return greeted
            finally:
                writer.close()
                await writer.wait_closed()
    except (OSError, TimeoutError):
        return False


async def wait(
    hosts: Mapping[str, str],
    seconds: float,
    gone: Callable[[], set[str]],
    arrived: Callable[[str], None],
) -> dict[str, str]:
    """Wait for all hosts (name to address) at once; those that failed, with the reason.

    `gone` names the hosts that are off again; `arrived` is told of each that answers. After so many
    `seconds` in which none has answered no more will: fifty take longer than one, and may.
    """
    deadline = time.monotonic() + seconds
    waiting = {asyncio.create_task(_greeting(address)): host for host, address in hosts.items()}
    failed: dict[str, str] = {}
    while waiting:
        done, _ = await asyncio.wait(
            waiting, timeout=_LIFE_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            arrived(waiting.pop(task))
            deadline = time.monotonic() + seconds
        late = time.monotonic() > deadline
        off = set() if done else gone()
        for task, host in list(waiting.items()):
            if late or host in off:
                task.cancel()
                del waiting[task]
                failed[host] = "it is off again" if host in off else f"no answer in {seconds:g} s"
    return failed


async def _greeting(address: str) -> None:
    while True:
        if await answers(address):
            return
        await asyncio.sleep(_PAUSE_SECONDS)
