"""``sightline models``: what there is, and bringing it here."""

from pathlib import Path
from typing import Annotated

import typer

from sightline_models.bundle_commands import add_bundle_commands
from sightline_models.catalogue import DEFAULT_MODEL, load_catalogue
from sightline_models.pull import is_whole, pull


def build_models_app(default_into: Path) -> typer.Typer:
    """The command group; model folders go below ``default_into`` unless the user names another folder."""
    app = typer.Typer(help="Detectors: the catalogue, and bringing one here.", no_args_is_help=True)
    folder_option = typer.Option("--into", help="Folder of model folders.")

    @app.command("pull")
    def pull_command(
        name: Annotated[
            str, typer.Argument(help="A name of 'sightline models list', or the path of an ONNX file.")
        ] = DEFAULT_MODEL,
        into: Annotated[Path, folder_option] = default_into,
        card: Annotated[Path | None, typer.Option(help="Describes an ONNX file whose layout cannot be told.")] = None,
    ) -> None:
        """Fetch a detector, verify it, and write its model folder."""
        typer.echo(pull(name, into, card))

    @app.command("list")
    def list_command(into: Annotated[Path, folder_option] = default_into) -> None:
        """Show the catalogue, and what is already here."""
        for entry in load_catalogue().models:
            here = "here" if is_whole(into / entry.name, entry.digest) else "-"
            default = " (default)" if entry.name == DEFAULT_MODEL else ""
            typer.echo(f"{entry.name:<11} {here:<5} {entry.licence:<11} {entry.description}{default}; from {entry.source}")

    add_bundle_commands(app)
    return app
