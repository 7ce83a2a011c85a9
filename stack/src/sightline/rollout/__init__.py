"""Rollouts of models: the judge's process, what people tell it, and what it tells them."""
