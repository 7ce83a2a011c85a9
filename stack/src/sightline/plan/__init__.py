"""``sightline plan``: what a number of cameras needs, projected from measured unit costs.

``costs`` are the unit costs, each with where it comes from; ``model`` is the arithmetic from demand and costs to cores, memory,
brokers and storage; ``limits`` are what breaks first as an installation grows; ``page`` makes tables of it.
"""

from sightline.plan.command import plan_command

__all__ = ["plan_command"]
