"""Upcalls: clients register a callback, and the server calls up each event to each, once."""
