"""One-way over UDP: fire and forget, and a receiver that counts what became of it."""
