"""A Spark standalone cluster on the loopback interface: a master and workers as real processes, from PySpark's own jars.

What differs between one driver process and a cluster (executors in processes of their own, code and jars that must reach
them, state that moves between machines through the checkpoint) shows here as it does on several machines. What does not: the
network, and a file system that not every machine sees. Nothing listens on any other interface, and all that is kept is below
the home folder.
"""

import http.client
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from sightline.jars import fetch_jars
from sightline.java import find_java
from sightline.ports import LOOPBACK, free_port
from sightline.processes import Child, start
from sightline_contract.errors import StageError

_READY_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 5.0
# The quick compiler only, as the one-machine driver has it: see sightline_streaming.session.
_QUICK = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC"


class StandaloneCluster:
    """A running master and ``workers`` workers: use it as a context manager; ``url`` is for spark-submit's --master."""

    def __init__(self, home: Path, workers: int = 2, cores: int = 1, memory_mb: int = 1024) -> None:
        """Each worker offers ``cores`` task slots and ``memory_mb`` of executor heap; Python workers come on top of that."""
        self._home = home.absolute()
        self._workers = workers
        self._cores = cores
        self._memory_mb = memory_mb
        self._port = free_port()
        self._ui_port = free_port()
        self._running = ExitStack()

    @property
    def url(self) -> str:
        """Address of the master."""
        return f"spark://{LOOPBACK}:{self._port}"

    def start(self) -> Self:
        """Start everything and wait until each worker is registered; raises StageError and leaves nothing."""
        with ExitStack() as begun:
            words = ["--host", LOOPBACK, "--port", str(self._port), "--webui-port", str(self._ui_port)]
            master = begun.enter_context(self._daemon("master", "master.Master", words))
            master.wait_until(lambda: self._status() is not None, _READY_TIMEOUT_S, f"an answer at port {self._ui_port}")
            workers = []
            for number in range(self._workers):
                words = ["--host", LOOPBACK, "--cores", str(self._cores), "--memory", f"{self._memory_mb}m"]
                words += ["--webui-port", str(free_port()), "--work-dir", str(self._work(number)), self.url]
                workers.append(begun.enter_context(self._daemon(f"worker-{number}", "worker.Worker", words)))
            for worker in workers:
                worker.wait_until(lambda: self.alive_workers() == self._workers, _READY_TIMEOUT_S, "registered at the master")
            self._running = begun.pop_all()
        return self

    def stop(self) -> None:
        """Stop the workers with their executors, then the master. Safe to repeat."""
        self._running.close()

    def submit(
        self,
        name: str,
        script: Path,
        arguments: Sequence[str | Path] = (),
        *,
        driver_memory_mb: int = 1024,
        executor_memory_mb: int | None = None,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Start ``spark-submit script arguments`` with the driver on this machine; returns at once.

        Executors have the memory of a worker unless told; ``settings`` are Spark's (--conf), ``environment`` is added to the
        driver's. Its output is ``NAME.log`` in the home folder.
        """
        command: list[str | Path] = [spark_home() / "bin/spark-submit", "--master", self.url]
        command += ["--jars", ",".join(str(jar) for jar in fetch_jars("spark"))]
        command += ["--driver-memory", f"{driver_memory_mb}m", "--executor-memory", f"{executor_memory_mb or self._memory_mb}m"]
        command += ["--driver-java-options", _QUICK]
        for key, value in (_SUBMIT_SETTINGS | dict(settings or {})).items():
            command += ["--conf", f"{key}={value}"]
        command += [script, *arguments]
        self._home.mkdir(parents=True, exist_ok=True)
        whole = _environment() | dict(environment or {})
        return start(name, command, self._home / f"{name}.log", environment=whole, working_dir=self._home)

    def alive_workers(self) -> int:
        """How many workers the master counts on."""
        return int((self._status() or {}).get("aliveworkers", 0))

    def executors(self) -> list[Path]:
        """The folder of every executor that was ever started here, with its logs."""
        return sorted(folder for number in range(self._workers) for folder in self._work(number).glob("app-*/*"))

    def _work(self, worker: int) -> Path:
        return self._home / f"worker-{worker}"

    def _daemon(self, name: str, role: str, words: Sequence[str]) -> Child:
        command: list[str | Path] = [spark_home() / "bin/spark-class", f"org.apache.spark.deploy.{role}", *words]
        return start(name, command, self._home / f"{name}.log", environment=_environment(), working_dir=self._home)

    def _status(self) -> dict[str, Any] | None:
        """What the master says of its cluster, or None while it does not answer."""
        connection = http.client.HTTPConnection(LOOPBACK, self._ui_port, timeout=_ANSWER_TIMEOUT_S)
        try:
            connection.request("GET", "/json/")
            status: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        else:
            return status
        finally:
            connection.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def spark_home() -> Path:
    """The Spark that PySpark brings: jars and scripts."""
    import pyspark

    return Path(pyspark.__file__).parent


def signal_driver(submitted: Child, number: int) -> None:
    """Send a signal to the Python driver below spark-submit's JVM, which would itself end with it.

    Raises StageError where there is none (yet).
    """
    for process in psutil.Process(submitted.pid).children():
        if Path(process.name()).name.startswith("python"):
            process.send_signal(number)
            return
    raise StageError(f"{submitted.name} has no Python driver to signal: see {submitted.log_path}")


# Executors come from the workers with this; everything else of the session is the job's own.
_SUBMIT_SETTINGS = {
    "spark.driver.host": LOOPBACK,
    "spark.driver.bindAddress": LOOPBACK,
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.executor.extraJavaOptions": _QUICK,
}


def _environment() -> dict[str, str]:
    """Of daemons and drivers; executors inherit their worker's."""
    return {
        "JAVA_HOME": str(find_java().home),
        "SPARK_HOME": str(spark_home()),
        # Web pages listen there too; without it on every interface.
        "SPARK_LOCAL_IP": LOOPBACK,
        # Python workers must be this interpreter: the PATH's python3 lacks our packages.
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": f"{_QUICK} -Dspark.master.rest.enabled=false",
        "SPARK_NO_DAEMONIZE": "1",
    }
