"""Benchmarks: measured beside the field's own tools, never asserted.

    python -m benchmarks            everything; prints a table and writes it into README.md here
    python -m benchmarks --help

They work on a copy of the checkout with labs and subnets of its own, so neither a running lab nor
the sources are touched, and nothing is left behind.
"""
