"""A distributed hash table: values kept by nobody in particular, and publishers found by topic."""
