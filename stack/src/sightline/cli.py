"""The ``sightline`` command.

Every command is loaded when it is called, so that ``--help`` is quick and a device that has only the ``edge`` extra can
run ``sightline edge``. Whatever an operator can act on ends as one line on stderr and exit code 1; ``--debug``, anywhere
on the line, shows the stack trace instead. Neither shows a secret.
"""

import errno
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sightline_contract.errors import SightlineError, StorageError, ToolMissingError
from sightline_edge.health.masking import mask, mask_tracebacks

_INTERRUPTED = 130  # as a shell reports a process that Ctrl-C ended


@contextmanager
def naming_missing_packages(command: str, extra: str) -> Iterator[None]:
    """Turn the lack of a package into a ToolMissingError that names the extra which brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sightline"):
            raise  # a module of our own: nothing that an install would mend
        raise ToolMissingError(
            f"'sightline {command}' needs the Python package {error.name}: pip install 'sightline[{extra}]'"
        ) from error


@dataclass(frozen=True)
class LazyCommand:
    """A command by where it is: a function, or a typer app with commands of its own."""

    name: str
    help: str
    module: str
    attribute: str
    extra: str

    def load(self) -> Any:
        """Import it; raises ToolMissingError when the extra that it needs is not installed."""
        with naming_missing_packages(self.name, self.extra):
            target = getattr(importlib.import_module(self.module), self.attribute)
        if isinstance(target, typer.Typer):
            return typer.main.get_group(target)
        alone = typer.Typer(add_completion=False)
        alone.command(self.name)(target)
        return typer.main.get_command(alone)


COMMANDS = (
    LazyCommand("demo", "Run the whole path on a video and show what it found.", "sightline.demo", "demo_command", "stack"),
    LazyCommand("doctor", "Show what is installed and what is missing.", "sightline.commands", "doctor_command", "stack"),
    LazyCommand("up", "Start the local stack in the background.", "sightline.commands", "up_command", "stack"),
    LazyCommand("down", "Stop the local stack; its data stays.", "sightline.commands", "down_command", "stack"),
    LazyCommand("status", "Show the services of the local stack.", "sightline.commands", "status_command", "stack"),
    LazyCommand("jars", "Fetch the pinned jars into the cache.", "sightline.commands", "jars_command", "stack"),
    LazyCommand("edge", "Run an edge node: decode, detect, publish.", "sightline_edge.commands", "edge_app", "edge"),
    LazyCommand(
        "pki", "Certificates of nodes and brokers, and their rights.", "sightline_edge.security.commands", "pki_app", "edge"
    ),
    LazyCommand("models", "List, fetch and check detectors.", "sightline.models", "models_app", "models"),
    LazyCommand("audit", "Verify, show and sign the audit log.", "sightline.audit.commands", "audit_app", "stack"),
    LazyCommand("bench", "Measure how good and how fast it is.", "sightline.bench", "bench_app", "bench"),
    LazyCommand("plan", "Project cores, memory and storage for so many cameras.", "sightline.plan", "plan_command", "stack"),
    LazyCommand("simulate", "Simulate cameras with known truth.", "sightline.simulate", "simulate_command", "stack"),
    LazyCommand("topics", "Create the topics on a Kafka cluster.", "sightline.commands", "topics_command", "stack"),
    LazyCommand("rescale", "Take the tracking job to other shards.", "sightline.commands", "rescale_command", "stack"),
    LazyCommand("track", "Track a file of detections.", "sightline_streaming.commands", "track_command", "streaming"),
)


class _LazyGroup(TyperGroup):
    """Lists placeholders, and swaps in the real command once one is chosen."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _placeholder, rest = super().resolve_command(ctx, args)
        chosen = next(command for command in COMMANDS if command.name == name)
        return name, chosen.load(), rest


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"sightline {version('sightline')}")
        raise typer.Exit


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's console and syntax colours take longer to load than all the rest
)


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the stack trace of an error.")] = False,
) -> None:
    """Turn camera detections into tables and alerts."""


for _command in COMMANDS:
    app.command(_command.name, help=_command.help)(lambda: None)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    words = [word for word in sys.argv[1:] if word != "--debug"]
    debug = len(words) < len(sys.argv) - 1
    mask_tracebacks()
    try:
        app(args=words, prog_name="sightline")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except (SightlineError, OSError) as error:
        if debug:
            raise
        typer.echo(f"error: {one_line(error)}", err=True)
        sys.exit(1)
    finally:
        mask_tracebacks()  # again: typer has put its own way of printing them in place


def one_line(error: SightlineError | OSError) -> str:
    """What happened, where and what to do, on one line and without a secret."""
    return " ".join(mask(str(_explained(error))).split())


def _explained(error: SightlineError | OSError) -> Exception:
    if not isinstance(error, OSError):
        return error
    where = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"disk full: {where} could not be written: free some space, or choose another folder")
    return StorageError(f"{where}: {error.strerror or error}: check the path and its permissions")
