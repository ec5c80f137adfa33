"""ZooKeeper's recipes: barriers, locks, a queue and their like, out of nodes and watches."""
