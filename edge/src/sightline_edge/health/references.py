"""References to secrets in a node's file: ``${NAME}`` of the environment, ``${file:PATH}`` of a file.

Whatever comes in this way is a secret, and so is the password of an address and an option named like one, even where they
stand in the file themselves: all are registered with masking.py before anything can show them.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from sightline_contract.errors import ConfigError
from sightline_edge.health.masking import is_secret_name, register_address, register_secret

# What systemd's LoadCredential and Kubernetes' secrets are is a line or a key: a file of more is a mistake.
MAX_SECRET_BYTES = 64 * 1024

_REFERENCE = re.compile(r"\$\{(?:file:(?P<file>[^}]+)|(?P<name>\w+))\}")


def expand(text: str, where: str, folder: Path) -> str:
    """``text`` with its references replaced and registered; raises ConfigError, which names ``where`` the reference stands.

    A file's path is taken from ``folder`` and may name variables, as in ``${file:$CREDENTIALS_DIRECTORY/camera}``. One line
    end at the file's end does not belong to the secret.
    """

    def value_of(match: re.Match[str]) -> str:
        value = _from_file(match["file"], where, folder) if match["file"] else _from_environment(match["name"], where)
        register_secret(value)
        return value

    expanded = _REFERENCE.sub(value_of, text)
    register_address(expanded)
    return expanded


def expand_options(
    options: Mapping[str, str | int | float | bool], where: str, folder: Path
) -> dict[str, str | int | float | bool]:
    """A library's options with the references in their texts replaced; those named like secrets are registered too."""
    expanded = {key: expand(value, where, folder) if isinstance(value, str) else value for key, value in options.items()}
    for key, value in expanded.items():
        if is_secret_name(key):
            register_secret(str(value))
    return expanded


def _from_environment(name: str, where: str) -> str:
    if name not in os.environ:
        raise ConfigError(f"{where}: names ${{{name}}}, which the environment does not have: set it")
    return os.environ[name]


def _from_file(name: str, where: str, folder: Path) -> str:
    path = folder / Path(os.path.expandvars(name)).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        if len(content) > MAX_SECRET_BYTES:
            raise ConfigError(f"{where}: names {path}, which is too large for a secret: name another file")
        return content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigError(
            f"{where}: names {path}, which cannot be read ({error.strerror}): check path and permissions"
        ) from error
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: names {path}, which is not UTF-8 text: name another file") from None
