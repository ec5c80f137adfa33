"""What the servers' own errors say to who asked."""

from __future__ import annotations

from apps.edge_cache.flights import TooMany
from apps.edge_cache.wire import BadImage, BadRequest
from apps.kit.http_server import Problem


def problem_of(error: Exception) -> Problem | None:
    """Give what an error says; None if it is none of these, and a fault of the server."""
    if isinstance(error, BadRequest | BadImage):
        return Problem(400, str(error))
    if isinstance(error, TooMany):
        return Problem(503, "too much is being fetched already", **{"Retry-After": "1"})
    return None
