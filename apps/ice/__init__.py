"""Remote calls over ZeroC Ice: a greeter that answers later, and calls back through a firewall."""
