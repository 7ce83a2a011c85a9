"""Plots as inline SVG that takes colours and fonts from the page, so that they follow light and dark.

Matplotlib draws with stand-in colours, which become the page's CSS variables afterwards.
"""

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Stand-in colours, told apart by their last digits, and the CSS variables that they become.
INK, GRID = "#010101", "#020202"
SERIES: Final = tuple(f"#0303{index:02x}" for index in range(1, 9))
CSS_OF: Final = {INK: "var(--ink-2)", GRID: "var(--grid)"} | {
    colour: f"var(--series-{index})" for index, colour in enumerate(SERIES, 1)
}
# Style rules for the whole page, ids that every plot has, fonts, turns by nothing.
_NOISE: Final = (
    re.compile(r"<metadata>.*?</metadata>|<style .*?</style>", re.DOTALL),
    re.compile(r'(?<=<g) id="[^"]*"'),
    re.compile(r" font-family: [^;\"]*;"),
    re.compile(r' transform="rotate\(-0 [^"]*"'),
)
WIDTH_IN, HEIGHT_IN = 6.4, 2.5
STYLE: Final[dict[str, Any]] = {
    "text.parse_math": False,  # names of classes and lines are no formulas
    "svg.fonttype": "none",  # text stays text: it takes the page's font and can be searched
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


def svg_plot(name: str, alt: str, draw: Callable[[Axes], None]) -> str:
    """Run ``draw`` on fresh axes and return an SVG element; ``name`` keeps its ids apart from other plots' on a page."""
    style: Any = STYLE | {"svg.hashsalt": name}
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.margins(x=0.01)
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _for_page(file.getvalue(), alt)


def _for_page(document: str, alt: str) -> str:
    """The SVG element of a document with the page's colours, and without what would meddle with the page around it."""
    svg = document[document.index("<svg") :]
    head = re.search(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', svg)
    if head is None:
        raise ValueError("Matplotlib wrote no <svg> element")
    svg = f'<svg {head[1]} role="img" aria-label="{escape(alt)}">' + svg[head.end() :]
    for noise in _NOISE:
        svg = noise.sub("", svg)
    for stand_in, variable in CSS_OF.items():
        svg = svg.replace(stand_in, variable)
    return svg.strip()
