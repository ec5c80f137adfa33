"""Samples of every pattern's latencies, spooled by a collector until InfluxDB has them."""
