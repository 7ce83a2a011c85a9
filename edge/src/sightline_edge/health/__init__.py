"""Watching a node: its figures for Prometheus, its device, its logs, and the secrets that none of them may show."""
