"""Loggers that are to say nothing for a while."""

import logging


class Hush:
    """What is logged below ``name`` is for nobody, until this is closed."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self._before = self._logger.level
        self._logger.setLevel(logging.CRITICAL)

    def close(self) -> None:
        """As it was before."""
        self._logger.setLevel(self._before)
