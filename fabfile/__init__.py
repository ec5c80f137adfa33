"""The lab's verbs. `fab --list` names them, `fab --help VERB` explains one."""

from __future__ import annotations

import sys
from pathlib import Path

from invoke.collection import Collection

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # lab/ and apps/ lie beside it

from fabfile import faults, hosts, links, matrix, metrics, patterns, runs, store, topology

fault = Collection(
    "fault",
    faults.kill,
    faults.pause,
    faults.power_off,
    faults.partition,
    faults.clock,
    faults.disk,
    links.link,
    links.delay,
    links.loss,
    links.rate,
    links.reset,
    links.shapes,
    list=faults.list_,
)
shape = Collection(
    "topology",
    topology.generate,
    topology.validate,
    topology.graph,
    topology.inspect,
    topology.export,
    topology.measure,
)
namespace = Collection(
    fault,
    shape,
    faults.heal,
    hosts.up,
    hosts.down,
    hosts.ssh,
    patterns.deploy,
    patterns.remove,
    patterns.status,
    patterns.logs,
    metrics.metrics,
    runs.run_demo,
    matrix.matrix,
    store.runs,
    store.matrices,
    store.report,
    store.compare,
    store.serve,
    store.pictures,
)
