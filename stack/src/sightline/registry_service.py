"""The local model registry: an MLflow server on SQLite, on loopback only.

All that it keeps is below its data folder: the database ``mlflow.db``, and ``artifacts`` with the models' files, which
clients read and write through the server.
"""

import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from sightline.ports import LOOPBACK, require_free
from sightline.processes import Child, start
from sightline_contract.errors import RegistryError, StageError

DEFAULT_REGISTRY_PORT = 5000
DEFAULT_REGISTRY = f"http://{LOOPBACK}:{DEFAULT_REGISTRY_PORT}"

_READY_TIMEOUT_S = 180  # 18 s on two idle cores; it starts beside the Spark driver
_PROBE_TIMEOUT_S = 2
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # background jobs of another use, in processes of their own
}


@dataclass(frozen=True)
class RegistryService:
    """The MLflow server."""

    data_dir: Path
    port: int = DEFAULT_REGISTRY_PORT
    name: str = "registry"

    @property
    def uri(self) -> str:
        """Address for clients."""
        return f"http://{LOOPBACK}:{self.port}"

    def launch(self, *, tied: bool) -> Child:
        """Start the server; raises PortInUseError."""
        require_free(self.port, "the model registry", "stop it, or choose another port with --registry-port")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command: list[str | Path] = [sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.data_dir.absolute() / 'mlflow.db'}", "--workers", "1"]
        command += ["--serve-artifacts", "--artifacts-destination", self.data_dir.absolute() / "artifacts"]
        log_path = self.data_dir / "mlflow.log"
        return start(self.name, command, log_path, tied=tied, environment=_ENVIRONMENT, working_dir=self.data_dir)

    def wait_until_ready(self, child: Child) -> None:
        """Wait until it answers; raises RegistryError with the reason that its log gives."""
        try:
            child.wait_until(self._answers, _READY_TIMEOUT_S, f"an answer on port {self.port}")
        except StageError as error:
            raise RegistryError(str(error)) from error

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=_PROBE_TIMEOUT_S) as answer:  # noqa: S310 - http
                return bool(answer.status == 200)
        except OSError:
            return False
