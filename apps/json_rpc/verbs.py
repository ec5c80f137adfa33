"""What a person types: `subtract 42 23`, `subtract minuend=42 subtrahend=23`, `notify update 1`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from apps.json_rpc.client import Asked, Client
from apps.kit.cli import Misspelt, split
from apps.kit.events import Events
from apps.kit.outcome import CallFailed

USAGE = """\
METHOD [ARG]...          call it, as in: subtract 42 23, or sum 1 2 4
METHOD [NAME=ARG]...     the same by name, as in: subtract minuend=42 subtrahend=23
notify METHOD [ARG]...   tell it; nothing comes back
batch CALL [CALL]...     several at once, as in: batch "sum 1 2" "get_data" "notify update 1"
send TEXT                a message as it is, as in: send '[1,2,3]'

An ARG is JSON, or else a text."""
_NAMED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def asked(words: Sequence[str]) -> Asked:
    """Read the words of one call; Misspelt."""
    notification = list(words[:1]) == ["notify"]
    method, *arguments = [*words][notification:] or [""]
    if not method:
        raise Misspelt(f"a method's name is missing; these are right:\n{USAGE}")
    named = [_NAMED.fullmatch(argument) for argument in arguments]
    if not any(named):
        return Asked(method, [_value(argument) for argument in arguments], notification)
    if not all(named):
        raise Misspelt("parameters go all by position or all by name=value, not mixed")
    params = {match[1]: _value(match[2]) for match in named if match}
    if len(params) < len(named):
        raise Misspelt("a name comes twice")
    return Asked(method, params, notification)


def do(client: Client, events: Events, words: Sequence[str]) -> None:
    """Carry out one line; Misspelt, or how the call failed."""
    match list(words):
        case ["send", text]:
            events.say(client.post(text) or "(nothing)")
        case ["batch", *lines] if lines:
            calls = [asked(split(line)) for line in lines]
            results = client.batch_of(calls)
            for call, result in zip(calls, results, strict=True):
                events.say(f"{call.method}: {_shown(call, result)}")
            _raise_worst(results)
        case _:
            call = asked(words)
            events.say(_shown(call, client.ask(call)))


def _raise_worst(results: Sequence[Any]) -> None:
    """Have a batch end as the worst of its calls did: nobody knows, else rejected."""
    failed = [result for result in results if isinstance(result, CallFailed)]
    if failed:
        worst = max(failed, key=lambda failure: failure.exit_status)
        raise type(worst)(f"{len(failed)} of {len(results)} calls failed")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _shown(call: Asked, result: Any) -> str:
    if call.notification:
        return "(told; nothing comes back)"
    if isinstance(result, CallFailed):
        return f"{type(result).__name__.lower()}: {result}"
    return json.dumps(result)
