"""Bare sockets: TCP, UDP and Unix-domain written right, beside wrong ones and what each loses."""
