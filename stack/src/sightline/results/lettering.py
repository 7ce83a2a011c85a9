"""Text on pictures: small rounded plates, rendered once for each wording and then pasted.

OpenCV's own fonts have one stroke width and no letters beyond ASCII; these come from the DejaVu font that Matplotlib brings.
Colours are blue, green, red, as in OpenCV's pictures.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

DARK: Colour = (30, 24, 20)
WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True)
class Style:
    """How a plate looks. ``bar`` is a stripe of colour at its left edge."""

    size_px: int
    ink: Colour = WHITE
    ground: Colour = DARK
    opacity: float = 0.72
    bar: Colour | None = None
    bold: bool = False


@dataclass(frozen=True)
class Plate:
    """A rendered plate: colours times opacity, and how much of the picture shines through."""

    colour: npt.NDArray[np.float32]  # (h, w, 3)
    through: npt.NDArray[np.float32]  # (h, w, 1)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.colour.shape[1], self.colour.shape[0]


@lru_cache(maxsize=1024)
def plate(text: str, style: Style) -> Plate:
    """Render ``text`` with ``style``: lines end with newlines, a tab puts the rest of a line into a second column."""
    font = _font(style.size_px, style.bold)
    pad_x, pad_y = round(style.size_px * 0.45), round(style.size_px * 0.25)
    bar = max(2, style.size_px // 4) if style.bar else 0
    rows = [line.partition("\t")[::2] for line in text.split("\n")]
    ascent, descent = font.getmetrics()
    row_px = ascent + descent + (round(style.size_px * 0.35) if len(rows) > 1 else 0)
    tab_px = max(font.getlength(first) for first, _ in rows) + (style.size_px if "\t" in text else 0)
    width = round(tab_px + max(font.getlength(second) for _, second in rows)) + 2 * pad_x + bar
    height = len(rows) * row_px + 2 * pad_y

    letters = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(letters)
    for index, (first, second) in enumerate(rows):
        top = pad_y + index * row_px
        draw.text((pad_x + bar, top), first, fill=255, font=font)
        draw.text((pad_x + bar + tab_px, top), second, fill=255, font=font)
    cover = Image.new("L", (width, height), 0)
    ImageDraw.Draw(cover).rounded_rectangle((0, 0, width - 1, height - 1), style.size_px // 3, fill=255)

    ground = np.full((height, width, 3), style.ground, dtype=np.float32)
    opacity = np.full((height, width, 1), style.opacity, dtype=np.float32)
    if style.bar:
        ground[:, :bar], opacity[:, :bar] = style.bar, 1.0
    ink, covered = _alpha(letters), _alpha(cover) * opacity
    colour = ground * covered * (1 - ink) + np.array(style.ink, dtype=np.float32) * ink
    return Plate(colour, (1 - ink) * (1 - covered))


def paste(picture: Picture, what: Plate, left: int, top: int) -> None:
    """Put a plate on the picture, moved inside where it would stick out."""
    height, width = picture.shape[:2]
    left = max(0, min(left, width - what.size[0]))
    top = max(0, min(top, height - what.size[1]))
    # A plate larger than the picture is cut.
    part = picture[top : top + what.size[1], left : left + what.size[0]]
    rows, columns = part.shape[:2]
    part[:] = part * what.through[:rows, :columns] + what.colour[:rows, :columns]


def _alpha(image: Image.Image) -> npt.NDArray[np.float32]:
    return (np.asarray(image, dtype=np.float32) / np.float32(255))[..., None]


@lru_cache
def _font(size_px: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", name)), size_px)
