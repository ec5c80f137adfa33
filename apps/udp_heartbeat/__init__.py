"""Heartbeats over UDP, and failure detectors that judge them: a fixed timeout and phi-accrual."""
