"""Sockets used right: each file deals with one thing that the bare calls leave to their caller."""
