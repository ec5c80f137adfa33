"""Logical clocks, and mutual exclusion without a coordinator (Lamport 1978)."""
