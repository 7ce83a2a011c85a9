"""A live city's messages, each in its time."""

import time
from collections.abc import Callable, Iterator

from sightline.simulate.encoding import Message
from sightline.simulate.steady import SteadyCity

# Waiting for less is not worth it.
_PACE_S = 0.01


class LiveMessages:
    """The messages of ``seconds`` seconds of a city: none is given before it is due, which is when its last frame is captured.

    ``go_on`` is called once a second of the city and may raise.
    """

    def __init__(self, city: SteadyCity, seconds: int, go_on: Callable[[], None]) -> None:
        self._city = city
        self._seconds = seconds
        self._go_on = go_on
        # How far behind its time a message was given, s, at worst.
        self.worst_delay_s = 0.0

    def __iter__(self) -> Iterator[Message]:
        for number in range(self._seconds):
            for message in self._city.second(number):
                due_s = message.arrives_us / 1e6 - time.time()
                if due_s > _PACE_S:
                    time.sleep(due_s)
                self.worst_delay_s = max(self.worst_delay_s, -due_s)
                yield message
            self._go_on()
