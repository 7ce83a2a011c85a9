"""Reading a YAML configuration file into a frozen model, with one clear line for whatever is wrong in it."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sightline_contract.errors import ConfigError


class Settings(BaseModel):
    """Base of every configuration model: read once at the entry point, never changed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AnySettings = TypeVar("AnySettings", bound=Settings)


def load_settings(path: Path, model: type[AnySettings]) -> AnySettings:
    """Read and validate ``path``; raises ConfigError naming the file, the key and what is wrong with it."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: give a YAML file") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise ConfigError(f"{path}{line}: is not valid YAML ({getattr(error, 'problem', None) or error})") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: holds no settings: expected 'key: value' lines such as {_example_keys(model)}")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from error


def explain(error: ValidationError) -> str:
    """The first problem of a validation error in one line, and how many more there are."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {first['msg'].removeprefix('Value error, ')}{more}"


def _example_keys(model: type[Settings]) -> str:
    return ", ".join(list(model.model_fields)[:3])
