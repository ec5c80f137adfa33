"""What InfluxDB has of the patterns: how long their operations took."""

from __future__ import annotations

from invoke.context import Context

from fabfile.verb import LOCAL, load, tell, verb


@verb(
    "only",
    "json",
    since="How far back: 90s, 10min, 2h.",
    svg="Draw them into this file.",
)
def metrics(
    c: Context,
    inventory: str = LOCAL,
    only: str = "",
    since: str = "1h",
    svg: str = "",
    json: bool = False,
) -> None:
    """Show how long operations took, by pattern, operation and host, from InfluxDB."""
    from dataclasses import asdict
    from pathlib import Path

    from lab import screen
    from lab.catalogue import select
    from lab.evidence.samples import quantiles
    from lab.evidence.sketch import draw
    from lab.faults import quantities
    from lab.hosts.remote import Remote

    patterns = [pattern.name for pattern in select(only)] if only else []
    seconds = quantities.seconds(since.removeprefix("-"))
    with Remote(load(inventory)) as remote:
        rows, dropped = quantiles(remote, patterns, seconds)
    if svg:
        Path(svg).write_text(draw(rows, whole=True))
        tell(f"drawn: {svg}")
    if json:
        screen.as_json({"dropped": dropped, "series": [asdict(row) for row in rows]})
        return
    screen.table(
        ["pattern", "component", "operation", "host", "count", "p50 ms", "p90", "p99", "max"],
        [
            (r.pattern, r.component, r.operation, r.host, r.count)
            + tuple(f"{ms:.3f}" for ms in (r.p50, r.p90, r.p99, r.max))
            for r in rows
        ],
    )
    if dropped:
        tell(f"{dropped} samples were dropped where their agent could not take them")
