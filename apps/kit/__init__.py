"""What the patterns share: the small kit that turns a protocol into a well-behaved service."""
