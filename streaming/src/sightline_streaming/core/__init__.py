"""Pure maths on arrays: motion, association, tracks, zones, windows. Never imports pyspark, reads no clock, does no I/O."""
