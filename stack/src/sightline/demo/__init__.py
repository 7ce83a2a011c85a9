"""The demo: the whole path on one recording, from pixels to marts, and what it found."""

from sightline.demo.command import demo_command

__all__ = ["demo_command"]
