"""``sightline models compile`` and ``targets``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline_contract.errors import ConfigError, ModelError
from sightline_contract.model_card import CARD_FILE, load_card
from sightline_contract.parity import Pixels
from sightline_contract.targets import Target
from sightline_models.compile.golden import CALIBRATION_FRAMES, GOLDEN_FRAMES, OpenDetector, split_clip

if TYPE_CHECKING:
    from sightline_models.compile.compile import Compiled


@dataclass(frozen=True)
class CompileTools:
    """What this package does not know itself."""

    models: Path  # where models of a name are
    compiled: Path  # where compiled ones go
    open_detector: OpenDetector
    # At most so many frames of a video, made to fit into (width, height).
    spread_frames: Callable[[Path, int, tuple[int, int]], Sequence[Pixels]]
    # mAP50 on the labelled set in a folder; None where the product has no evaluation.
    open_labelled: "Callable[[Path], Callable[..., float]] | None" = None
    registry: str = ""  # where 'compile --log-to' finds the registry, unless told otherwise


def add_compile_commands(app: typer.Typer, tools: CompileTools) -> None:
    """Add the commands to ``sightline models``."""

    @app.command("targets")
    def targets_command() -> None:
        """Show what this machine can compile for, and why not the rest."""
        from sightline_models.compile.targets import possible_targets

        for possible in possible_targets():
            typer.echo(f"{possible!s:<17} {possible.target or f'- {possible.reason}'}")

    @app.command("compile")
    def compile_command(
        model: Annotated[str, typer.Argument(help="A model folder, or the name of one that was pulled.")],
        target: Annotated[str, typer.Option(help="Such as tensorrt:fp16, openvino:int8; see 'targets'.")],
        clip: Annotated[Path, typer.Option(help="A video of what the model will see: golden and calibration frames.")],
        labelled: Annotated[Path | None, typer.Option(help="Labelled pictures, for the gate of 8 bits.")] = None,
        out: Annotated[Path | None, typer.Option(help="Model folder to write.", show_default=False)] = None,
        level: Annotated[int, typer.Option(min=0, max=5, help="How hard TensorRT looks for fast kernels.")] = 3,
        log_to: Annotated[
            str | None,
            typer.Option(help="NAME:VERSION of the registry: keeps engine, build time, size, parity.", show_default=False),
        ] = None,
        registry: Annotated[
            str, typer.Option("--registry", help="An MLflow server's address.", envvar="SIGHTLINE_REGISTRY")
        ] = tools.registry,
    ) -> None:
        """Make an engine for a target, on a machine like it; one that sees other things than the model is refused."""
        from sightline_models.compile.compile import Order, compile_model
        from sightline_models.compile.targets import target_here

        folder = Path(model) if (Path(model) / CARD_FILE).is_file() else tools.models / model
        card = load_card(folder)
        wanted = target_here(target)
        if labelled and tools.open_labelled is None:
            raise ConfigError("--labelled: labelled sets cannot be read here: leave it out")
        accuracy = tools.open_labelled(labelled) if labelled and tools.open_labelled else None
        frames = tools.spread_frames(clip, GOLDEN_FRAMES + CALIBRATION_FRAMES, card.input.size)
        order = Order(
            folder, wanted, split_clip(frames, str(clip)), out or tools.compiled / f"{card.name}-{wanted}",
            tools.compiled / "timings", tools.open_detector, accuracy, level,
        )  # fmt: skip
        log, log_refusal = _loggers(log_to, registry, card.digest, wanted) if log_to else (None, None)
        done = compile_model(order, log, log_refusal)
        typer.echo(done.folder)
        for name, value in done.figures().items():
            typer.echo(f"  {name:<22} {value:.4f}" if isinstance(value, float) else f"  {name:<22} {value}")


def _loggers(text: str, uri: str, digest: str, target: Target) -> "tuple[Callable[[Compiled], None], Callable[[str], None]]":
    """Keep with a version of the registry what was compiled, or why it was refused.

    Raises ConfigError where that version is none, ModelError where it is of another model.
    """
    from sightline_models.registry import Registry
    from sightline_models.registry_engines import log_engine, log_parity

    name, _, number = text.rpartition(":")
    if not name or not number.isdigit():
        raise ConfigError(f"--log-to {text}: is no version of the registry such as yolox-nano:3")
    registry = Registry(uri)
    version = registry.version(name, int(number))
    if version.digest != digest:
        raise ModelError(f"--log-to {text}: has digest {version.digest} and this model {digest}: give the version that it is")

    def log(done: "Compiled") -> None:
        if done.engine is not None:
            log_engine(registry, version, target, done.engine)
        log_parity(registry, version, target, passed=True, figures=done.figures())

    def log_refusal(reason: str) -> None:
        log_parity(registry, version, target, passed=False, figures={"reason": reason})

    return log, log_refusal
