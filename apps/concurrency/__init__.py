"""Processes and threads of one host that share work: pipes and a supervisor, a queue and a lock."""
