"""How messages leave the node: first into the spool, which is a promise; then, whenever the centre can be reached, to Kafka."""
