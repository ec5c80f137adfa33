"""InfluxDB as a component: Debian's influxd, configured by us, in our unit and our sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from apps.kit.address import Address
from apps.kit.daemon import Daemon
from apps.kit.events import Events
from apps.metrics.influx import ROWS

PROGRAM = "/usr/bin/influxd"
_CONFIGURATION = """\
reporting-disabled = true
bind-address = "127.0.0.1:0"  # its own backups; nobody asks for them

[meta]
  dir = "{directory}/meta"
  logging-enabled = false

[data]
  dir = "{directory}/data"
  wal-dir = "{directory}/wal"
  wal-fsync-delay = "0s"  # what it acknowledges is on the disk
  query-log-enabled = false
  cache-max-memory-size = "128m"
  max-series-per-database = {series}
  max-values-per-tag = {series}

[coordinator]
  max-concurrent-queries = 20
  query-timeout = "30s"

[monitor]
  store-enabled = false

[subscriber]
  enabled = false

[continuous_queries]
  enabled = false

[http]
  bind-address = "{listen}"
  log-enabled = false
  pprof-enabled = false
  max-body-size = 4194304
  max-connection-limit = 200
  max-row-limit = {rows}
  max-concurrent-write-limit = 8
  max-enqueued-write-limit = 64

[logging]
  format = "logfmt"
  level = "warn"
  suppress-logo = true
"""


class Influxd(Daemon):
    """The database; what it keeps lies in a directory."""

    name = "influxd"

    def __init__(self, listen: Address, events: Events, directory: Path, series: int) -> None:
        """Keep so many series at most: names are made up by whoever publishes."""
        super().__init__(events)
        self._address = listen
        self._directory = directory.absolute()
        self._series = series

    def command(self) -> Sequence[str]:
        """Give influxd and its configuration."""
        path = self._directory / "influxdb.conf"
        path.write_text(
            _CONFIGURATION.format(
                directory=self._directory, listen=self._address, series=self._series, rows=ROWS
            )
        )
        return [PROGRAM, "-config", str(path)]

    async def answers(self) -> bool:
        """Whether it says pong."""
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(b"GET /ping HTTP/1.0\r\n\r\n")
            return b" 204 " in await reader.readline()
        finally:
            writer.close()

    def heard(self, line: str) -> None:
        """Tell it; whoever asks can have it complain, so that is bounded."""
        self.events.bounded("said", line=line)
