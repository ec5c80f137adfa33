"""Images from the edge: caches that elect a leader, which fetches and replicates for all."""
