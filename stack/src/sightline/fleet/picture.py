"""The picture of a rollout: how many nodes serve which version over time, and what was decided when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

_HOUR_US = 3_600_000_000
_INK, _QUIET = "#1f2933", "#7b8794"
# Versions in the order in which they appear: quiet for the baseline, then colours that eyes of any kind tell apart.
_COLOURS = ("#c5ced8", "#0072b2", "#d55e00", "#cc79a7", "#e69f00", "#56b4e9", "#009e73")
_SHADOW_HATCH = "////"


@dataclass(frozen=True)
class Sample:
    """The fleet at one time (UTC us): nodes by the version that they serve, and how many run a shadow."""

    at_us: int
    serving: Mapping[str, int]
    shadowing: int


@dataclass(frozen=True)
class Mark:
    """A step of a rollout. ``text`` is short: it stands along the picture's top."""

    at_us: int
    text: str
    bad: bool = False


def draw_rings(samples: Sequence[Sample], marks: Sequence[Mark], title: str, path: Path) -> Path:
    """Write a PNG: nodes by version over hours since the first sample, logarithmic in the nodes so that a ring of 5 % shows."""
    start_us = samples[0].at_us
    hours = [(sample.at_us - start_us) / _HOUR_US for sample in samples]
    versions = list(dict.fromkeys(version for sample in samples for version in sample.serving))
    fleet = max(sum(sample.serving.values()) for sample in samples)
    figure = Figure(figsize=(11, 5.2), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    for version, colour in zip(versions, _cycled(len(versions)), strict=True):
        nodes = [sample.serving.get(version) or float("nan") for sample in samples]
        axes.step(hours, nodes, where="post", color=colour, linewidth=2.2, label=version)
        axes.fill_between(hours, nodes, step="post", color=colour, alpha=0.18, linewidth=0)
    if any(sample.shadowing for sample in samples):
        shadows = [sample.shadowing for sample in samples]
        axes.fill_between(
            hours, shadows, step="post", facecolor="none", edgecolor=_QUIET, hatch=_SHADOW_HATCH, linewidth=0, label="in shadow"
        )
    _mark(axes, marks, start_us)
    _scale(axes, fleet, hours[-1])
    figure.suptitle(title, x=0.01, ha="left", color=_INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _scale(axes: Axes, fleet: int, last_h: float) -> None:
    axes.set_yscale("symlog", linthresh=max(1, fleet * 0.05))
    ticks = [round(fleet * share) for share in (0, 0.05, 0.25, 1)]
    axes.set_yticks(ticks, [f"{nodes} ({share})" for nodes, share in zip(ticks, ("0 %", "5 %", "25 %", "100 %"), strict=True)])
    axes.set_ylim(0, fleet * 1.12)
    axes.set_xlim(0, last_h)
    axes.set_xlabel("hours", color=_INK)
    axes.set_ylabel("nodes that serve a version", color=_INK)
    axes.grid(axis="y", color="#e4e7eb")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_INK, which="both")
    axes.minorticks_off()
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), labelcolor=_INK)


def _mark(axes: Axes, marks: Sequence[Mark], start_us: int) -> None:
    for mark in marks:
        hour = (mark.at_us - start_us) / _HOUR_US
        colour = "#b42318" if mark.bad else _INK
        axes.axvline(hour, color=colour, linewidth=0.8, linestyle=":")
        axes.annotate(
            mark.text,
            (hour, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(2, 3),
            textcoords="offset points",
            rotation=35,
            fontsize=8,
            color=colour,
        )


def _cycled(count: int) -> list[str]:
    return [_COLOURS[0], *(_COLOURS[1 + i % (len(_COLOURS) - 1)] for i in range(count - 1))]
