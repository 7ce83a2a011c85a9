"""How much boxes overlap."""

from sightline_streaming.core.kernel import kernel


@kernel
def overlap(a0: float, a1: float, a2: float, a3: float, b0: float, b1: float, b2: float, b3: float, buffer: float) -> float:
    """Intersection over union of boxes x1 y1 x2 y2, each grown on every side by ``buffer`` times its own size; 0 for degenerate ones."""
    if buffer > 0.0:
        grow_x, grow_y = (a2 - a0) * buffer, (a3 - a1) * buffer
        a0, a1, a2, a3 = a0 - grow_x, a1 - grow_y, a2 + grow_x, a3 + grow_y
        grow_x, grow_y = (b2 - b0) * buffer, (b3 - b1) * buffer
        b0, b1, b2, b3 = b0 - grow_x, b1 - grow_y, b2 + grow_x, b3 + grow_y
    width = min(a2, b2) - max(a0, b0)
    height = min(a3, b3) - max(a1, b1)
    if not (width > 0.0 and height > 0.0):
        return 0.0
    both = width * height
    return both / ((a2 - a0) * (a3 - a1) + (b2 - b0) * (b3 - b1) - both)
