"""Spark jobs: thin shells around ``core``."""
