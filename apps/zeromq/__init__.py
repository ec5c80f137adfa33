"""Messaging without a broker, and with a small one: the socket patterns of ZeroMQ."""
