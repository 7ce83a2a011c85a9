"""Plots of engines' figures, out of the JSON that ``models_gpu`` and ``bench models`` write.

python -m sightline.bench.models_plot docs/figures/gpu-h100.json docs/images
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "sightline"  # the same figures give the same file
from matplotlib import pyplot as plt  # noqa: E402 - after the choice of how it draws

_COLOURS: Final = {"fp32": "#555555", "fp16": "#1f77b4", "int8": "#d62728", "fp8": "#9467bd"}


def plot_gpu(told: dict[str, Any], folder: Path) -> list[Path]:
    """A file each of latency and of throughput by batch size, a panel a model, a line a precision."""
    engines = {name: engine for name, engine in told["engines"].items() if engine.get("batches") and name.count("-") == 1}
    models = sorted({engine["model"] for engine in engines.values()})
    machine = f"{told['machine'].get('gpu', 'GPU')}, TensorRT {told['machine'].get('tensorrt', '')}"
    written = []
    for what, key, label in (
        ("latency", "graph_p50_ms", "ms for a batch, median"),
        ("throughput", "frames_per_s_two_streams", "frames/s, two streams"),
    ):
        figure, panels = plt.subplots(1, len(models), figsize=(5 * len(models), 3.6), squeeze=False)
        for panel, model in zip(panels[0], models, strict=True):
            for engine in (each for each in engines.values() if each["model"] == model):
                batches = {int(batch): figures[key] for batch, figures in engine["batches"].items()}
                refused = engine.get("parity", {}).get("refused")
                panel.plot(
                    list(batches), list(batches.values()), marker="o", color=_COLOURS[engine["precision"]],
                    linestyle="--" if refused else "-", label=engine["precision"] + (" (refused)" if refused else ""),
                )  # fmt: skip
            panel.set(title=model, xscale="log", yscale="log", xlabel="batch", ylabel=label)
            panel.set_xticks(sorted(batches), labels=[str(batch) for batch in sorted(batches)])
            panel.grid(visible=True, which="both", alpha=0.3)
            panel.legend()
        figure.suptitle(machine, fontsize=9)
        figure.tight_layout()
        written.append(folder / f"models-gpu-{what}.svg")
        figure.savefig(written[-1], metadata={"Date": None})
        plt.close(figure)
    return written


if __name__ == "__main__":
    plot_gpu(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
