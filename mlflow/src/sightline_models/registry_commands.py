"""``sightline models register``, ``versions``, ``show`` and ``alias``."""

import getpass
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline_contract.errors import ConfigError
from sightline_contract.events import AuditRecord
from sightline_contract.model_card import load_card
from sightline_models.pull import pull_file

if TYPE_CHECKING:
    from sightline_models.evaluation import Evaluation, OpenDetector
    from sightline_models.registry import Registry, Version
    from sightline_models.registry_engines import Figures

_NONE = "-"


def add_registry_commands(
    app: typer.Typer,
    default_uri: str,
    detector: "OpenDetector",
    announce: Callable[[AuditRecord], None] = lambda _record: None,
) -> None:
    """Add the commands to ``app``; ``detector`` runs models that are evaluated, ``announce`` takes audit records."""
    uri_option = typer.Option("--registry", help="An MLflow server's address.", envvar="SIGHTLINE_REGISTRY")
    commands = _Commands(detector, announce)

    @app.command("register")
    def register_command(
        model: Annotated[Path, typer.Argument(help="An ONNX file, or a model folder of 'sightline models pull'.")],
        card: Annotated[Path | None, typer.Option(help="Describes the ONNX file.", show_default=False)] = None,
        name: Annotated[str | None, typer.Option(help="Default: the card's.", show_default=False)] = None,
        evaluate: Annotated[Path | None, typer.Option(help="Folder of a labelled set.", show_default=False)] = None,
        alias: Annotated[str, typer.Option(help="What the version shall be called.")] = "candidate",
        registry: Annotated[str, uri_option] = default_uri,
    ) -> None:
        """Put a model into the registry, as a new version with its card, digest and evaluation."""
        typer.echo(commands.register(registry, model, card, name, evaluate, alias))

    @app.command("versions")
    def versions_command(
        name: Annotated[str | None, typer.Argument(help="A registered model; default: all.", show_default=False)] = None,
        registry: Annotated[str, uri_option] = default_uri,
    ) -> None:
        """Show what is registered."""
        typer.echo(_table(commands.open(registry).versions(name)))

    @app.command("show")
    def show_command(name: str, version: int, registry: Annotated[str, uri_option] = default_uri) -> None:
        """Show one version: card, digest, aliases, evaluation, engines with build time, size and parity."""
        typer.echo(_described(commands.open(registry), name, version))

    @app.command("alias")
    def alias_command(
        name: str,
        alias: Annotated[str, typer.Argument(help="candidate, canary, champion, previous, or one of your own.")],
        version: int,
        reason: Annotated[str, typer.Option(help="For the audit log.")] = "",
        registry: Annotated[str, uri_option] = default_uri,
    ) -> None:
        """Move an alias to a version; the champion that gives way becomes previous."""
        typer.echo(commands.move_alias(registry, name, alias, version, reason))


@dataclass(frozen=True)
class _Commands:
    """What the commands do; the registry's modules are loaded when one runs."""

    detector: "OpenDetector"
    announce: Callable[[AuditRecord], None]

    def open(self, uri: str) -> "Registry":
        from sightline_models.registry import Registry

        return Registry(uri, self.announce)

    def register(self, uri: str, model: Path, card: Path | None, name: str | None, labelled: Path | None, alias: str) -> str:
        registry = self.open(uri)
        if model.is_dir() and card:
            raise ConfigError(f"--card describes an ONNX file, and {model} is a folder that has one: leave it out")
        with tempfile.TemporaryDirectory() as scratch:
            folder = model if model.is_dir() else pull_file(model, Path(scratch), card)
            registry.require_new(load_card(folder).digest)  # before the evaluation, which takes time
            evaluation = self._evaluate(folder, labelled) if labelled else None
            version = registry.register(folder, getpass.getuser(), name=name, evaluation=evaluation, alias=alias)
        told = f", mAP50 {evaluation.map50:.3f} on {evaluation.set_name}" if evaluation else ", not evaluated"
        return f"{version} registered as {alias} ({version.digest}{told})"

    def move_alias(self, uri: str, name: str, alias: str, number: int, reason: str) -> str:
        from sightline_models.registry import Alias

        registry = self.open(uri)
        if alias == Alias.CHAMPION:
            version = registry.promote(name, number, getpass.getuser(), reason)
        else:
            version = registry.set_alias(name, alias, number, getpass.getuser(), reason)
        return f"{version}: {', '.join(version.aliases)}"

    def _evaluate(self, folder: Path, labelled: Path) -> "Evaluation":
        from sightline_models.evaluation import EVALUATION_MIN_SCORE, evaluate, load_labelled_set

        labels = load_labelled_set(labelled)
        return evaluate(self.detector.open(folder, EVALUATION_MIN_SCORE), labels, self.detector.threads)


def _table(versions: "Sequence[Version]") -> str:
    from sightline_models.registry import LICENCE_TAG, MAP50_TAG, MAP_TAG

    if not versions:
        return "nothing is registered"
    rows: list[tuple[str, ...]] = [("model", "version", "digest", "aliases", "mAP50", "mAP", "licence", "registered")]
    for each in versions:
        figures = (f"{float(each.tags[tag]):.3f}" if tag in each.tags else _NONE for tag in (MAP50_TAG, MAP_TAG))
        aliases = ",".join(each.aliases) or _NONE
        digest = each.digest.removeprefix("sha256:")[:12]
        rows.append((each.name, str(each.number), digest, aliases, *figures, each.tags[LICENCE_TAG], _date(each.created_us)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _described(registry: "Registry", name: str, number: int) -> str:
    from sightline_models.registry_engines import parity

    version = registry.version(name, number)
    card = registry.card(version)
    lines = [
        f"{version}, registered {_date(version.created_us)}",
        f"digest         {version.digest}",
        f"aliases        {', '.join(version.aliases) or _NONE}",
        f"source         {card.source}",
        f"licence        {card.licence}",
        f"training data  {card.training_data or _NONE}",
        f"input          {card.input.name} {card.input.size[0]}x{card.input.size[1]} {card.input.layout} {card.input.channels}",
        f"output         {card.output.name} {card.output.decode}",
        f"classes        {', '.join(card.labels)}",
        *_engine_lines(parity(registry, version)),
    ]
    evaluation = registry.evaluation(version)
    return "\n".join(lines + (_figures(evaluation) if evaluation else ["evaluation     none"]))


def _engine_lines(by_target: "Mapping[str, Figures]") -> list[str]:
    """A line for each target; an engine that was refused says why."""
    lines = [f"  {target}: {_compiled(figures)}" for target, figures in by_target.items()]
    return ["engines", *lines] if lines else [f"engines        {_NONE}"]


def _compiled(figures: "Figures") -> str:
    if not figures["passed"]:
        return f"refused: {figures['reason']}"
    size = float(figures["engine_bytes"])
    told = [
        f"built in {float(figures['build_s']):.1f} s",
        f"{size / 1000:,.0f} kB" if size else "the ONNX file as it is",
        f"agreement {float(figures['parity_agreement']):.3f}",
    ]
    if "map50" in figures:
        told.append(f"mAP50 {float(figures['map50']):.3f} ({float(figures['map50_full']):.3f} at full precision)")
    return ", ".join(told)


def _figures(evaluation: "Evaluation") -> list[str]:
    latency = f"{evaluation.latency_p50_ms:.1f} ms median, {evaluation.latency_p95_ms:.1f} ms p95"
    lines = [
        f"evaluation     {evaluation.set_name}, {evaluation.images} pictures: "
        f"mAP50 {evaluation.map50:.3f}, mAP {evaluation.map:.3f}",
        f"latency        {latency} on {evaluation.cpu}, {evaluation.threads} threads",
    ]
    for label, each in evaluation.by_class.items():
        known = "" if each.in_model else ", which the model does not know"
        lines.append(f"  {label}: AP50 {each.ap50:.3f}, AP {each.ap:.3f} ({each.boxes} boxes{known})")
    return lines


def _date(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
