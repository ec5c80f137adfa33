"""Leader election on ZooKeeper, and a fence: who was leader can believe so, and harm nobody."""
