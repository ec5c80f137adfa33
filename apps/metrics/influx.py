"""InfluxDB 1.x over HTTP: lines are written, InfluxQL is asked.

Its answers are told apart as all calls' are: Refused where no connection was, or it says that it
cannot now; Rejected where it says no for good; Unknown where no answer came.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from apps.kit.address import Address
from apps.kit.outcome import Refused, Rejected, Unknown

DATABASE = "distlab"
KEPT = "30d"
"""How long it keeps points; the collector takes none older than a week."""
ROWS = 1_000_000
"""Rows that the store gives at most to one query."""
_ANSWER_MOST = 64 << 20
_ERROR_MOST = 300


class NoDatabase(Refused):
    """The database is not there: its disk is new."""


class Influx:
    """One server's database, over one connection; one thread at a time uses it."""

    def __init__(self, server: Address, database: str = DATABASE, patience: float = 10.0) -> None:
        """`patience` is the seconds that an answer may take."""
        self._server = server
        self._database = database
        self._patience = patience
        self._connection: http.client.HTTPConnection | None = None

    def write(self, lines: bytes) -> None:
        """Write lines, their stamps in nanoseconds; they are on its disk when this returns."""
        self._ask("POST", "/write", {"db": self._database, "precision": "ns"}, lines)

    def create(self) -> None:
        """Have the database, if it is not there yet."""
        text = f'CREATE DATABASE "{self._database}" WITH DURATION {KEPT} SHARD DURATION 1d'
        self.query(text, "POST")

    def query(self, text: str, method: str = "GET") -> list[dict[str, Any]]:
        """Give the series that some InfluxQL finds: `name`, `tags`, `columns`, `values`."""
        parameters = {"db": self._database, "epoch": "ns", "q": text}
        try:
            found = json.loads(self._ask(method, "/query", parameters))["results"][0]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise Unknown(f"{self._server} gave no answer to read: {error}") from error
        series: list[dict[str, Any]] = found.get("series", [])
        if "error" in found:
            raise Rejected(f"{self._server}: {found['error']}")
        # `partial` is said of all above 10,000 rows, which are whole: only the bound tells.
        if sum(len(one.get("values", ())) for one in series) >= ROWS:
            raise Rejected(f"{self._server} gives {ROWS} rows at most: ask for less")
        return series

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """Have a call that waits in another thread fail at once."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _ask(
        self, method: str, path: str, parameters: Mapping[str, str], body: bytes | None = None
    ) -> bytes:
        connection = self._connected()
        try:
            connection.request(method, f"{path}?{urlencode(parameters)}", body)
            response = connection.getresponse()
            answer = response.read(_ANSWER_MOST)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            what = str(error) or type(error).__name__
            raise Unknown(f"no answer from {self._server}: {what}") from error
        if response.will_close or response.length:
            self.close()
        said = _error(answer)
        match response.status:
            case 200 | 204:
                return answer
            case 404 if "database not found" in said:
                raise NoDatabase(said)
            case 400 | 413 | 422:
                raise Rejected(said)
            case status:
                raise Refused(f"{self._server} answers {status}: {said}")

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            connection = http.client.HTTPConnection(*self._server, timeout=2.0)
            try:
                connection.connect()
            except (OSError, UnicodeError) as error:
                why = getattr(error, "strerror", None) or error
                raise Refused(f"{self._server}: {why}") from error
            connection.sock.settimeout(self._patience)
            self._connection = connection
        return self._connection


def select(what: str, measurement: str, **tags: str) -> str:
    """Give the InfluxQL that selects something where all these tags have these values."""
    conditions = " AND ".join(f"{name} = {_quoted(value)}" for name, value in tags.items())
    return f"SELECT {what} FROM {measurement} WHERE {conditions}"  # noqa: S608  quoted


def _quoted(value: str) -> str:
    """Give a string as InfluxQL writes it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def _error(answer: bytes) -> str:
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(answer)["error"])
    return answer[:_ERROR_MOST].decode(errors="replace").strip()
