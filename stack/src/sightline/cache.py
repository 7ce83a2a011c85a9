"""Where everything that is fetched once stays: jars, models, the sample clip.

The folder may be deleted at any time; the next command fetches what it needs again.
"""

import os
from pathlib import Path


def cache_dir() -> Path:
    """``$SIGHTLINE_CACHE``, or else ``sightline`` in the user's cache folder. Not created here."""
    chosen = os.environ.get("SIGHTLINE_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sightline"


def jars_dir() -> Path:
    """Where the jars of Kafka and of Spark's connectors are."""
    return cache_dir() / "jars"


def models_dir() -> Path:
    """Where the model folders are, each with ``model.onnx`` and ``card.yaml``."""
    return cache_dir() / "models"


def clips_dir() -> Path:
    """Where the sample clip is."""
    return cache_dir() / "clips"
