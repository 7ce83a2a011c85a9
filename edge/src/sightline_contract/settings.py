"""Reading a YAML configuration file into a frozen model, with one clear line for whatever is wrong in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sightline_contract.errors import ConfigError


class Settings(BaseModel):
    """Base of every configuration model: read once at the entry point, never changed, unknown keys refused.

    A value that is wrong may be a secret: errors name the key and say what is wrong, and do not show the value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


AnySettings = TypeVar("AnySettings", bound=Settings)


def load_settings(path: Path, model: type[AnySettings], overrides: Mapping[str, str] | None = None) -> AnySettings:
    """Read and validate ``path``; raises ConfigError naming the file, the key and what is wrong with it.

    ``overrides`` are values that stand above the file's, as YAML text under dotted keys: ``{"kafka.port": "9092"}``.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    return parse_settings(content, path, model, overrides)


def parse_settings(
    content: bytes, path: Path, model: type[AnySettings], overrides: Mapping[str, str] | None = None
) -> AnySettings:
    """As ``load_settings``, of content that was read; ``path`` is where it came from, for the error."""
    document = _document(content, path, model)
    for key, text in (overrides or {}).items():
        _override(document, key, text)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from error


def _document(content: bytes, path: Path, model: type[Settings]) -> dict[str, Any]:
    try:
        document = yaml.safe_load(content.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: give a YAML file") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        # The parser's own error quotes the line, which may hold a secret, and cuts it so that nobody can see where that ends.
        raise ConfigError(f"{path}{line}: is not valid YAML ({getattr(error, 'problem', None) or error})") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: holds no settings: expected 'key: value' lines such as {_example_keys(model)}")
    return document


def _override(document: dict[str, Any], dotted_key: str, text: str) -> None:
    """Set ``a.b.c`` of nested mappings; what is not a mapping on the way becomes one, and validation judges the result."""
    *parents, last = dotted_key.split(".")
    for parent in parents:
        if not isinstance(document.get(parent), dict):
            document[parent] = {}
        document = document[parent]
    try:
        document[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{dotted_key}={text}: is not a YAML value: quote it") from error


def explain(error: ValidationError) -> str:
    """The first problem of a validation error in one line, and how many more there are."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {first['msg'].removeprefix('Value error, ')}{more}"


def _example_keys(model: type[Settings]) -> str:
    return ", ".join(list(model.model_fields)[:3])
