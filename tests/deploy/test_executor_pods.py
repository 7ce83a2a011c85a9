"""A driver started by the manifest's own command: which pods Spark asks for, with which rights, and that they serve it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import kubernetes_validate
import pyspark
import pytest
from kubernetes_api import Api, kubernetes_api
from manifests import Document, drivers, job_of, mounted, of_kind, settings, the_container, words

from sightline.java import find_java
from sightline.ports import free_port

ENTRYPOINT = Path(__file__).parents[2] / "streaming/deploy/entrypoint.sh"
APPLICATION = """
import os
from pyspark.sql import SparkSession

context = SparkSession.builder.getOrCreate().sparkContext
rows = context.parallelize(range(4), 4).map(lambda _: (os.environ["JOB"], os.environ["SPARK_EXECUTOR_ID"])).distinct().collect()
print(sorted(rows))
context.stop()
"""
VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update"}


def command(documents: list[Document], driver: Document, api: str, folder: Path) -> list[str]:
    """The driver's command line up to the job, with this machine's places and no names to look up."""
    for volume in ("job", "executor"):
        for name, text in mounted(documents, driver, volume).items():
            local = text.replace("/etc/sightline/executor", str(folder)).replace("/opt/sightline/bin/python", sys.executable)
            (folder / name).write_text(local)
    (folder / "application.py").write_text(APPLICATION)
    line = words(documents, driver)
    line = [str(Path(pyspark.__file__).parent / "bin/spark-submit"), *line[1 : line.index("/opt/sightline/jobs/several.py")]]
    line[line.index("--master") + 1] = f"k8s://{api}"
    line[line.index("--properties-file") + 1] = str(folder / "spark.conf")
    line = [re.sub(r"^spark\.driver\.host=.*", "spark.driver.host=127.0.0.1", word) for word in line]
    own = {
        "spark.driver.port": str(free_port()),
        "spark.driver.blockManager.port": str(free_port()),
        "spark.kubernetes.executor.enableApiWatcher": "false",
        "spark.kubernetes.executor.apiPollingInterval": "1s",
    }
    return [
        *line,
        *(part for name, value in own.items() for part in ("--conf", f"{name}={value}")),
        str(folder / "application.py"),
    ]


def needed(asked: str) -> tuple[str, str]:
    """The resource and the verb that a request needs."""
    method, place = asked.partition("?")[0].split(" ")
    resource, *name = place.split("/")[5:]
    if method == "GET":
        return resource, "get" if name else "list"
    if method == "DELETE":
        return resource, "delete" if name else "deletecollection"
    return resource, VERBS[method]


def assert_is_as_the_manifests_say(pod: Document, documents: list[Document], driver: Document) -> None:
    kubernetes_validate.validate(pod, "1.37", strict=True)
    told = settings(documents, driver)
    (container,) = pod["spec"]["containers"]
    assert container["image"] == the_container(driver)["image"]
    assert container["args"] == ["executor"]
    memory = 1024 + int(told["spark.executor.memoryOverhead"].removesuffix("m"))
    size = {"cpu": told["spark.executor.cores"], "memory": f"{memory}Mi"}
    assert container["resources"] == {"requests": size, "limits": size}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert pod["spec"]["serviceAccountName"] == "executor"
    assert pod["metadata"]["ownerReferences"][0]["name"] == f"{driver['metadata']['name']}-0"
    labels = {"spark-role": "executor", "app.kubernetes.io/component": job_of(driver), "app.kubernetes.io/part-of": "sightline"}
    assert labels.items() <= pod["metadata"]["labels"].items()
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v]
    assert claims == ["sightline-data"]


def assert_was_allowed(api: Api, documents: list[Document]) -> None:
    (role,) = of_kind(documents, "Role")
    allowed = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert {needed(asked) for asked in api.asked} <= allowed


@pytest.mark.spark
def test_a_driver_gets_its_executors_and_they_run_its_tasks(render: Callable[[str], list[Document]], tmp_path: Path) -> None:
    documents = render("overlays/city-5000")
    (driver,) = [driver for driver in drivers(documents) if job_of(driver) == "alerts"]
    local = {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "JAVA_HOME": str(find_java().home),
        "PYSPARK_PYTHON": sys.executable,
        "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
        "SPARK_LOCAL_DIRS": str(tmp_path / "scratch"),
    }
    with kubernetes_api(ENTRYPOINT, tmp_path / "executors.log", local) as (address, api):
        line = command(documents, driver, address, tmp_path)
        ended = subprocess.run(line, env=os.environ | local, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.splitlines()[-1] == "[('alerts', '1'), ('alerts', '2')]"
    assert len(api.pods) == int(settings(documents, driver)["spark.executor.instances"])
    for pod in api.pods:
        assert_is_as_the_manifests_say(pod, documents, driver)
    assert_was_allowed(api, documents)
