"""Remote calls as JSON-RPC 2.0: positional and named parameters, notifications, batches."""
