"""The audit log: rows that are chained by their hashes, and signed checkpoints of the chain."""
