"""Everything that crosses a process boundary: messages, topics, ids, configuration files, errors.

Edge nodes, streaming jobs, the lakehouse and the model tools meet only here. The package does no network I/O and imports
neither Spark nor an inference runtime, so that a device can carry it.
"""
