"""A simulated city with known truth: worlds, a detector's eye for them, cameras' faults, messages, and what really happened.

    layouts      the scenes: camera, lanes, walkways, lines, zones, rules, who comes and how often
    arrivals     objects with their plans
    motion       how they move over the ground
    sensing      what a detector makes of them
    truth        what really happened, from the noise-free world
    faults       what goes wrong between a camera and the broker
    camera       one camera's simulation, second by second
    city         all cameras, in order of time

Everything is drawn from one seed: the same seed gives the same bytes.
"""

from sightline.simulate.command import simulate_command

__all__ = ["simulate_command"]
