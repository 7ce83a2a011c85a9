"""MLflow as this package uses it: loaded late, quiet, quick to give up, and its errors as one line.

Importing it takes seconds, so this module imports it in functions only, and only a command that needs the registry calls them.
"""

import importlib
import json
import logging
import os
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from sightline_contract.errors import RegistryError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT: Final = "sightline-models"

_SQLITE = "sqlite:///"
_PROBE_TIMEOUT_S = 5
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # the default of seven, ever slower, is minutes of silence
}


def connect(uri: str) -> "MlflowClient":
    """A client of the MLflow at ``uri`` (http, https or a database's address); raises RegistryError where none answers."""
    _require_server(uri)
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with explained(uri), warnings.catch_warnings():
        # Of a type hint within MLflow itself, coloured, at each import.
        warnings.filterwarnings("ignore", message=r"(?s).*Any type hint is inferred as AnyType", category=UserWarning)
        importlib.import_module("mlflow.onnx")
        importlib.import_module("mlflow.pyfunc")
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def experiment_id(client: "MlflowClient", uri: str) -> str:
    """The experiment whose runs are the registrations; made where there is none."""
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(EXPERIMENT):
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(EXPERIMENT, artifact_location=_artifacts_of(uri)))
    except MlflowException:
        found = client.get_experiment_by_name(EXPERIMENT)  # somebody else made it in between
        if found is None:
            raise
        return str(found.experiment_id)


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn the errors of MLflow, its database and its connection into one RegistryError."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, OSError, json.JSONDecodeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines[0] if lines else type(error).__name__)[:300]
        raise RegistryError(f"registry {shown(uri)}: {reason}: {_remedy(uri)}") from error


def shown(uri: str) -> str:
    """The address without user and password."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def _remedy(uri: str) -> str:
    if uri.startswith(_SQLITE):
        return "check that file and its folder, or restore them from a copy"
    return "see the server's log ('sightline status' says where the local one's is)"


def _require_server(uri: str) -> None:
    if not uri.startswith(("http://", "https://")):
        return
    try:
        # The scheme is one of the two.
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_PROBE_TIMEOUT_S):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        error.close()  # it answers: what it thinks of us is told by the first real request
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise RegistryError(
            f"no model registry answers at {shown(uri)} ({reason}): start one with 'sightline up', or give --registry"
        ) from error


def _artifacts_of(uri: str) -> str | None:
    """Files of a database that is used without a server lie beside it; a server has a place of its own for them."""
    return str(Path(uri.removeprefix(_SQLITE)).absolute().parent / "artifacts") if uri.startswith(_SQLITE) else None
