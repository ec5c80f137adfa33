"""A resource over HTTP: items that are created, read, replaced, patched and deleted, durably."""
