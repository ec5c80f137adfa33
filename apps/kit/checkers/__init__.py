"""Checkers: pure functions from a history to a finding, each with the few events that show it.

    linearizable(history, Register)
    exactly_once(history, sent="submitted", delivered="counted", id_="task")

They take any history of `apps.kit.claims`: a simulator's trace or the merged journals of hosts.
"""

from apps.kit.checkers.deliveries import (
    Traffic,
    at_least_once,
    at_most_once,
    exactly_once,
    fifo,
    traffic,
)
from apps.kit.checkers.exclusion import fenced, mutual_exclusion, single_leader
from apps.kit.checkers.linearizability import linearizable
from apps.kit.checkers.models import Log, Model
from apps.kit.checkers.order import causal, prefix, same_prefix, total_order
from apps.kit.checkers.outcomes import outcomes_are_true
from apps.kit.checkers.queue import Queue
from apps.kit.checkers.register import Register
from apps.kit.checkers.sessions import monotonic_reads
from apps.kit.checkers.sets import Set

__all__ = [
    "Log",
    "Model",
    "Queue",
    "Register",
    "Set",
    "Traffic",
    "at_least_once",
    "at_most_once",
    "causal",
    "exactly_once",
    "fenced",
    "fifo",
    "linearizable",
    "monotonic_reads",
    "mutual_exclusion",
    "outcomes_are_true",
    "prefix",
    "same_prefix",
    "single_leader",
    "total_order",
    "traffic",
]
