"""How much boxes overlap."""

from sightline_streaming.core.kernel import leaf


@leaf
def overlap(a0: float, a1: float, a2: float, a3: float, b0: float, b1: float, b2: float, b3: float) -> float:
    """Intersection over union of boxes x1 y1 x2 y2; 0 where they share nothing or one is empty."""
    width = min(a2, b2) - max(a0, b0)
    height = min(a3, b3) - max(a1, b1)
    if not (width > 0.0 and height > 0.0):
        return 0.0
    both = width * height
    return both / ((a2 - a0) * (a3 - a1) + (b2 - b0) * (b3 - b1) - both)
