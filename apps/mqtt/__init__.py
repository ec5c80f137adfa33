"""Publish and subscribe through a broker: at most once, at least once, exactly once."""
