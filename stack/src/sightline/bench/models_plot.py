"""Plots of engines' figures, out of the JSON that ``models_gpu`` and ``bench models`` write.

python -m sightline.bench.models_plot docs/figures/gpu-h200.json docs/images
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "sightline"  # the same figures give the same file
from matplotlib import pyplot as plt  # noqa: E402 - after the choice of how it draws
from matplotlib.ticker import NullFormatter  # noqa: E402

_COLOURS: Final = {"fp32": "#555555", "fp16": "#1f77b4", "int8": "#d62728", "fp8": "#9467bd"}


def plot_gpu(told: dict[str, Any], folder: Path) -> list[Path]:
    """A file each of latency and of throughput by batch size, a panel a model, a line a precision."""
    engines = {name: engine for name, engine in told["engines"].items() if engine.get("batches") and name.count("-") == 1}
    models = sorted({engine["model"] for engine in engines.values()})
    machine = f"{told['machine'].get('gpu', 'GPU')}, TensorRT {told['machine'].get('tensorrt', '')}"
    ticks = sorted({int(batch) for engine in engines.values() for batch in engine["batches"]})
    written = []
    for what, key, axis in (
        ("latency", "graph_p50_ms", "ms for a batch, median"),
        ("throughput", "frames_per_s_two_streams", "frames/s, two streams"),
    ):
        figure, panels = plt.subplots(1, len(models), figsize=(5 * len(models), 3.6), squeeze=False, sharey=True)
        for panel, model in zip(panels[0], models, strict=True):
            for engine in (each for each in engines.values() if each["model"] == model):
                batches = {int(batch): figures[key] for batch, figures in engine["batches"].items()}
                refused = engine.get("parity", {}).get("refused")
                label = f"{engine['precision']}, level {engine['options']['level']}" + (", refused" if refused else "")
                panel.plot(
                    list(batches), list(batches.values()), marker="o", color=_COLOURS[engine["precision"]],
                    linestyle="--" if refused else "-", label=label,
                )  # fmt: skip
            panel.set(title=model, xscale="log", yscale="log", xlabel="batch")
            panel.set_xticks(ticks, labels=[str(batch) for batch in ticks])
            panel.set_xticks([], minor=True)
            panel.yaxis.set_major_formatter("{x:,g}")
            panel.yaxis.set_minor_formatter(NullFormatter())
            panel.grid(visible=True, which="both", alpha=0.3)
            panel.legend()
        panels[0][0].set_ylabel(axis)
        figure.suptitle(machine, fontsize=9)
        figure.tight_layout()
        written.append(folder / f"models-gpu-{what}.svg")
        figure.savefig(written[-1], metadata={"Date": None})
        plt.close(figure)
    return written


def table(told: dict[str, Any]) -> list[str]:
    """Rows in Markdown: an engine each, and a batch each of it; a star where timings of an earlier build were at hand."""
    rows = [
        "| Engine | Level | Build s | MB | Agreement | Mean IoU | Score gap | Batch | p50 ms | p99 ms "
        "| With copies p50 ms | Frames/s | Two streams | With copies |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, engine in told["engines"].items():
        head = f"| {name} | {engine['options']['level']} "
        if "error" in engine:
            rows.append(f"{head}| {engine['error']} " + "| " * 11 + "|")
            continue
        again = engine.get("build_s_with_timings")
        built = f"{engine['build_s']:.0f}" + ("*" if engine["timing_cache_found"] else "")
        built += f" ({again:.0f}*)" if again is not None else ""
        head += f"| {built} | {engine['engine_bytes'] / 1e6:.1f} "
        parity = engine.get("parity")
        figures = "agreement", "mean_iou", "mean_score_gap"
        head += "".join(f"| {parity[key]:.3f} " if parity else "| – " for key in figures)
        if not engine.get("batches"):
            rows.append(f"{head}| not measured " + "| " * 6 + "|")
        for batch, f in engine.get("batches", {}).items():
            rows.append(
                f"{head}| {batch} | {f['graph_p50_ms']:.3f} | {f['graph_p99_ms']:.3f} | {f['copies_p50_ms']:.3f} "
                f"| {f['frames_per_s']:,.0f} | {f['frames_per_s_two_streams']:,.0f} | {f['frames_per_s_copies']:,.0f} |"
            )
            head = "| | | | | | | "
    return rows


if __name__ == "__main__":
    figures_told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    plot_gpu(figures_told, Path(sys.argv[2]))
    print(*table(figures_told), sep="\n")
