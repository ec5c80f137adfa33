"""Pure cores over a simulated network: seeded faults, a trace like a host's, a seed to replay."""
