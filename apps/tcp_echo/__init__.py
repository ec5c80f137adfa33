"""Request/response over TCP: a server that echoes each line with its own time."""
