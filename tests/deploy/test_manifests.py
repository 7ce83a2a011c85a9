"""The manifests hold by Kubernetes' own schemas, and by what they are for."""

import re
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest
from manifests import (
    Document,
    containers,
    drivers,
    environment,
    executor_of,
    job_config,
    namespace_of,
    of_kind,
    pods,
    settings,
    the_container,
    words,
)

from sightline.plan.costs import load_costs
from sightline.plan.model import CellPlan, Demand, make_plan
from sightline_contract.topics import ALL_TOPICS
from sightline_streaming.application import PIPELINE

PAGE = Path(__file__).parents[2] / "docs/kubernetes.md"
KUBERNETES = "1.37"
# Who runs the cluster brings these; the page says how.
BROUGHT = {("Secret", "sightline-kafka-tls"), ("Secret", "sightline-object-store")}
MIB = 1024**2


def cell_plan() -> CellPlan:
    return make_plan(Demand(cameras=5000), load_costs()).first


def bytes_of(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]*)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"m": MIB, "g": 1024 * MIB, "Mi": MIB, "Gi": 1024 * MIB}[unit]


def test_every_document_is_one_that_kubernetes_takes(overlay: list[Document]) -> None:
    for document in overlay:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    for driver in drivers(overlay):
        kubernetes_validate.validate(executor_of(overlay, driver), KUBERNETES, strict=True)


def test_an_unknown_field_would_be_refused(overlay: list[Document]) -> None:
    """What the test above rests on."""
    driver = drivers(overlay)[0]
    wrong = driver | {"spec": driver["spec"] | {"replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_everything_has_a_namespace_that_the_overlay_makes(overlay: list[Document]) -> None:
    made = {document["metadata"]["name"] for document in of_kind(overlay, "Namespace")}
    assert {namespace_of(document) for document in overlay if document["kind"] != "Namespace"} == made
    for binding in of_kind(overlay, "RoleBinding"):
        assert {subject["namespace"] for subject in binding["subjects"]} == {namespace_of(binding)}


def test_every_cell_runs_every_job_in_one_driver_each(overlay: list[Document]) -> None:
    for namespace in {namespace_of(driver) for driver in drivers(overlay)}:
        own = [driver for driver in drivers(overlay) if namespace_of(driver) == namespace]
        told = [environment(overlay, driver)["JOBS"].split(",") for driver in own]
        assert sorted(job for jobs in told for job in jobs) == sorted(PIPELINE)
        assert all(driver["spec"]["replicas"] == 1 for driver in own)


def test_tables_in_an_object_store_have_one_driver_that_writes_them(overlay: list[Document], tmp_path: Path) -> None:
    """Delta's log there loses commits of a second one."""
    for driver in drivers(overlay):
        if "://" not in job_config(overlay, driver, tmp_path).table_root:
            continue
        jobs = environment(overlay, driver)["JOBS"].split(",")
        assert ("facts" in jobs) == ("archive" in jobs)


def test_cells_share_no_kafka_no_tables_and_no_cameras(overlay: list[Document], tmp_path: Path) -> None:
    own = {}
    for driver in drivers(overlay):
        config = job_config(overlay, driver, tmp_path)
        cameras = driver["spec"]["template"]["spec"]["initContainers"][0]["image"]
        roots = (config.table_root, config.checkpoint_root)
        own.setdefault(namespace_of(driver), set()).add((config.kafka.bootstrap_servers, *roots, cameras))
    assert all(len(told) == 1 for told in own.values())
    for place in zip(*(next(iter(told)) for told in own.values()), strict=True):
        assert len(set(place)) == len(own)


def test_the_jobs_accept_their_configuration(overlay: list[Document], tmp_path: Path) -> None:
    for driver in drivers(overlay):
        config = job_config(overlay, driver, tmp_path)
        places = {mount["mountPath"] for mount in the_container(driver)["volumeMounts"]}
        assert config.kafka.tls
        assert {str(config.cameras), str(config.kafka.tls.ca_file.parent), str(config.kafka.tls.identity_file.parent)} <= places
        # Without a bound, the first micro-batch after a long pause outlasts the liveness probe, for ever.
        assert config.max_offsets_per_trigger


def test_sizes_are_those_of_the_plan(overlay: list[Document], tmp_path: Path) -> None:
    plan = cell_plan()
    planned = {job.name: job for job in plan.jobs}
    for driver in drivers(overlay):
        config, told = job_config(overlay, driver, tmp_path), settings(overlay, driver)
        assert (config.shards, config.shuffle_partitions) == (plan.shards, plan.shuffle_partitions)
        jobs = [planned[name] for name in environment(overlay, driver)["JOBS"].split(",")]
        cores = int(told["spark.executor.instances"]) * int(told["spark.executor.cores"])
        assert cores == sum(job.executors * job.executor_cores for job in jobs)
        memory = bytes_of(told["spark.executor.memory"]) + bytes_of(told["spark.executor.memoryOverhead"])
        assert memory * int(told["spark.executor.instances"]) >= 1e9 * sum(job.executor_memory_gb for job in jobs)
        given = bytes_of(the_container(driver)["resources"]["limits"]["memory"])
        assert given >= 1e9 * max(job.driver_memory_gb for job in jobs)


def test_executors_run_the_image_of_their_driver(overlay: list[Document]) -> None:
    for driver in drivers(overlay):
        assert settings(overlay, driver)["spark.kubernetes.container.image"] == the_container(driver)["image"]


def test_executors_find_their_driver(overlay: list[Document]) -> None:
    for driver in drivers(overlay):
        told, namespace = settings(overlay, driver), namespace_of(driver)
        (service,) = [
            service
            for service in of_kind(overlay, "Service")
            if (namespace_of(service), service["metadata"]["name"]) == (namespace, driver["spec"]["serviceName"])
        ]
        labels = driver["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"], "a driver is ready only after its executors came"
        pod = told["spark.kubernetes.driver.pod.name"]
        assert told["spark.driver.host"] == f"{pod}.{service['metadata']['name']}.{namespace}.svc"
        ports = {port["name"]: port["containerPort"] for port in the_container(driver)["ports"]}
        assert {told["spark.driver.port"], told["spark.driver.blockManager.port"]} == {str(p) for p in ports.values()}
        assert {port["port"] for port in service["spec"]["ports"]} == set(ports.values())


def test_every_container_says_what_it_needs_and_may_use(overlay: list[Document]) -> None:
    for container in containers(overlay):
        for bound in ("requests", "limits"):
            assert set(container["resources"][bound]) == {"cpu", "memory"}


def test_every_image_has_a_version(overlay: list[Document]) -> None:
    images = [container["image"] for container in containers(overlay) if "image" in container]
    assert images
    for image in images:
        assert re.search(r":[\w.-]*\d[\w.-]*$", image), image


def test_no_container_is_root_or_writes_to_its_image(overlay: list[Document]) -> None:
    for pod in pods(overlay):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(overlay):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_drivers_are_asked_for_what_their_status_file_says(overlay: list[Document], tmp_path: Path) -> None:
    for driver in drivers(overlay):
        container, line = the_container(driver), words(overlay, driver)
        status = line[line.index("--status") + 1]
        assert str(Path(status).parent) in {mount["mountPath"] for mount in container["volumeMounts"]}
        asked = {}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            command = container[probe]["exec"]["command"]
            assert command[:3] == ["python", "-m", "sightline_streaming.probe"]
            assert command[command.index("--status") + 1] == status
            asked[probe] = command[3]
        assert asked == {"startupProbe": "ready", "readinessProbe": "ready", "livenessProbe": "live"}
        live = container["livenessProbe"]["exec"]["command"]
        longest_s = float(live[live.index("--max-batch-s") + 1])
        assert longest_s >= 2 * job_config(overlay, driver, tmp_path).trigger_s.alerts_batch


def test_drivers_and_executors_have_a_disruption_budget(overlay: list[Document]) -> None:
    budgets = [(namespace_of(b), b["spec"]) for b in of_kind(overlay, "PodDisruptionBudget")]
    for driver in drivers(overlay):
        told = settings(overlay, driver)
        own = driver["spec"]["template"]["metadata"]["labels"]
        component = "spark.kubernetes.executor.label.app.kubernetes.io/component"
        executor = executor_of(overlay, driver)["metadata"]["labels"] | {
            "spark-role": "executor",
            "app.kubernetes.io/component": told[component],
        }

        def held_by(labels: dict[str, str], namespace: str = namespace_of(driver)) -> list[Document]:
            mine = [spec for where, spec in budgets if where == namespace]
            return [spec for spec in mine if spec["selector"]["matchLabels"].items() <= labels.items()]

        (of_drivers,) = held_by(own)
        assert of_drivers["maxUnavailable"] == 1
        (of_executors,) = held_by(executor)
        # Pods of no controller: Kubernetes takes a minimum in whole pods and nothing else. A minimum of all would stop drains.
        assert of_executors["minAvailable"] == int(told["spark.executor.instances"]) - 1


def test_the_network_policy_covers_drivers_and_executors(overlay: list[Document]) -> None:
    for policy in of_kind(overlay, "NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        chosen = policy["spec"]["podSelector"]["matchLabels"]
        (peer,) = policy["spec"]["ingress"][0]["from"]
        for driver in drivers(overlay):
            for labels in (
                driver["spec"]["template"]["metadata"]["labels"],
                executor_of(overlay, driver)["metadata"]["labels"],
            ):
                assert chosen.items() <= labels.items()
                assert peer["podSelector"]["matchLabels"].items() <= labels.items()


def references(documents: list[Document]) -> Iterator[tuple[str, str, str]]:
    """Namespace, kind and name of everything that a pod refers to."""
    for driver in drivers(documents):
        namespace = namespace_of(driver)
        told = settings(documents, driver)
        yield namespace, "ServiceAccount", driver["spec"]["template"]["spec"]["serviceAccountName"]
        yield namespace, "ServiceAccount", told["spark.kubernetes.authenticate.executor.serviceAccountName"]
        for name, value in told.items():
            if name.endswith("options.claimName"):
                yield namespace, "PersistentVolumeClaim", value
            if name.startswith("spark.kubernetes.executor.secretKeyRef."):
                yield namespace, "Secret", value.partition(":")[0]
        for pod in (driver["spec"]["template"]["spec"], executor_of(documents, driver)["spec"]):
            for volume in pod["volumes"]:
                if "secret" in volume:
                    yield namespace, "Secret", volume["secret"]["secretName"]
                if "persistentVolumeClaim" in volume:
                    yield namespace, "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
                if "configMap" in volume:
                    yield namespace, "ConfigMap", volume["configMap"]["name"]
        for entry in the_container(driver)["env"]:
            if secret := entry.get("valueFrom", {}).get("secretKeyRef"):
                yield namespace, "Secret", secret["name"]


def test_what_pods_refer_to_is_made_or_said_to_be_brought(overlay: list[Document]) -> None:
    made = {
        (namespace_of(document), document["kind"], document["metadata"]["name"])
        for document in overlay
        if document["kind"] != "Namespace"
    }
    lacking = {(kind, name) for namespace, kind, name in references(overlay) if (namespace, kind, name) not in made}
    assert lacking <= BROUGHT
    assert [name for _, name in sorted(lacking) if f"`{name}`" not in PAGE.read_text(encoding="utf-8")] == []


def test_every_mount_has_its_volume(overlay: list[Document]) -> None:
    for pod in pods(overlay):
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_no_secret_stands_in_the_manifests(overlay: list[Document]) -> None:
    assert of_kind(overlay, "Secret") == []


def test_the_page_names_every_topic_with_its_settings() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for topic in ALL_TOPICS:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{topic.name}` |")]
        assert all(f"`{key}={value}`" in line for key, value in topic.config.items())
