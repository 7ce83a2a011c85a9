"""Rendered manifests as what they mean: drivers, their command lines, their executors, the jobs' configuration."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from sightline_streaming.config import JobConfig, load_job_config

Document = dict[str, Any]


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [document for document in documents if document["kind"] in kinds]


def drivers(documents: list[Document]) -> list[Document]:
    found = of_kind(documents, "StatefulSet")
    assert found
    return found


def namespace_of(document: Document) -> str:
    return str(document["metadata"]["namespace"])


def job_of(driver: Document) -> str:
    return str(driver["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"])


def the_container(driver: Document) -> Document:
    (container,) = driver["spec"]["template"]["spec"]["containers"]
    return dict(container)


def config_map(documents: list[Document], namespace: str, name: str) -> dict[str, str]:
    (found,) = [
        document["data"]
        for document in of_kind(documents, "ConfigMap")
        if (namespace_of(document), document["metadata"]["name"]) == (namespace, name)
    ]
    return dict(found)


def environment(documents: list[Document], driver: Document) -> dict[str, str]:
    """What a driver's container has in its environment, as far as it can be known before it runs."""
    metadata = {"metadata.name": f"{driver['metadata']['name']}-0", "metadata.namespace": namespace_of(driver)}
    container, told = the_container(driver), {}
    for source in container["envFrom"]:
        told |= config_map(documents, namespace_of(driver), source["configMapRef"]["name"])
    for entry in container["env"]:
        source = entry.get("valueFrom", {})
        if "fieldRef" in source:
            path = source["fieldRef"]["fieldPath"]
            told[entry["name"]] = metadata.get(path) or job_of(driver)
        else:
            told[entry["name"]] = entry.get("value", "secret")
    return told


def words(documents: list[Document], driver: Document) -> list[str]:
    """The command line of a driver, with its variables filled in as Kubernetes does."""
    known = environment(documents, driver)
    return [re.sub(r"\$\((\w+)\)", lambda match: known[match[1]], word) for word in the_container(driver)["args"]]


def settings(documents: list[Document], driver: Document) -> dict[str, str]:
    """Spark's settings of a driver: its file's, then those of its command line."""
    file = mounted(documents, driver, "job")["spark.conf"]
    lines = [line for line in file.splitlines() if line and not line.startswith("#")]
    told = dict(line.split(None, 1) for line in lines)
    for option, value in pairwise(words(documents, driver)):
        if option == "--conf":
            name, _, setting = value.partition("=")
            told[name] = setting
    return told


def mounted(documents: list[Document], driver: Document, volume: str) -> dict[str, str]:
    (name,) = [v["configMap"]["name"] for v in driver["spec"]["template"]["spec"]["volumes"] if v["name"] == volume]
    return config_map(documents, namespace_of(driver), name)


def job_config(documents: list[Document], driver: Document, folder: Path) -> JobConfig:
    (folder / "job.yaml").write_text(mounted(documents, driver, "job")["job.yaml"])
    return load_job_config(folder / "job.yaml", environment(documents, driver))


def executor_of(documents: list[Document], driver: Document) -> Document:
    return dict(yaml.safe_load(mounted(documents, driver, "executor")["executor.yaml"]))


def pods(documents: list[Document]) -> Iterator[Document]:
    """Specs of all pods: drivers', and their executors'."""
    for driver in drivers(documents):
        yield driver["spec"]["template"]["spec"]
        yield executor_of(documents, driver)["spec"]


def containers(documents: list[Document]) -> Iterator[Document]:
    for pod in pods(documents):
        yield from pod["containers"]
        yield from pod.get("initContainers", [])
