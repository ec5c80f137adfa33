"""A ZooKeeper ensemble: sessions and acknowledged writes that outlive any one server."""
