"""The front door: the ``sightline`` command, the one-machine stack, the demo."""
