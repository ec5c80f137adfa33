"""Paxos: many may propose a value, one is chosen, whoever dies meanwhile (Lamport 2001)."""
