"""The files that a device gets: each is read by the program that it is for, and they speak of one another's places."""

import configparser
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from sightline_contract.settings import load_settings
from sightline_edge.config import NodeConfig
from sightline_edge.node import STOP_DRAIN_S

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "edge/deploy"


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "sightline-edge.service")
    return parser


@pytest.fixture(scope="module")
def node() -> NodeConfig:
    return load_settings(DEPLOY / "node.yaml", NodeConfig)


def test_the_devices_node_file_is_valid_and_keeps_its_promises(node: NodeConfig) -> None:
    assert node.keep_trying
    assert node.spool.reserve
    assert node.kafka.tls is not None
    assert node.clips is not None
    assert node.clips.blur == ("person",)
    assert node.metrics is not None
    assert node.metrics.host == "127.0.0.1"


@pytest.mark.parametrize("name", ["sightline-edge", "sightline-kafka"])
def test_the_service_manager_reads_the_unit(tmp_path: Path, name: str) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed")
    text = (DEPLOY / f"{name}.service").read_text()
    # The program is on a device only; everything else is judged.
    (tmp_path / f"{name}.service").write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.M))
    done = subprocess.run([analyze, "verify", tmp_path / f"{name}.service"], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if name in line]
    assert (done.returncode, complaints) == (0, [])


def test_the_unit_waits_for_what_the_node_needs_to_stop(unit: configparser.ConfigParser, node: NodeConfig) -> None:
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert int(service["TimeoutStopSec"]) > 2 * STOP_DRAIN_S
    assert int(service["WatchdogSec"]) > node.heartbeat_s
    assert service["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"  # or five crashes in ten seconds would end it for good
    assert node.state == Path("/var/lib") / service["StateDirectory"]


def test_what_is_in_the_nodes_memory_reaches_no_core_file_and_no_swap(unit: configparser.ConfigParser) -> None:
    assert unit["Service"]["LimitCORE"] == "0"
    assert unit["Service"]["MemorySwapMax"] == "0"
    container = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["node"]
    assert container["ulimits"]["core"] == 0
    assert container["memswap_limit"] == container["mem_limit"]  # of both together: none is left for swap


def test_what_is_started_is_a_command_of_ours(unit: configparser.ConfigParser) -> None:
    entrypoint = re.search(r"ENTRYPOINT (\[.*\])", (DEPLOY / "Dockerfile").read_text())
    assert entrypoint is not None
    words = json.loads(entrypoint[1])
    program, *arguments = unit["Service"]["ExecStart"].split()
    assert [Path(program).name, *arguments] == words
    command = [sys.executable, "-m", *words[:3], "--help"]
    usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert words[3] in usage


def test_the_image_installs_what_the_project_names_and_looks_where_figures_are(node: NodeConfig) -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = re.search(r"'\.\[(\w+)\]'", text)
    assert installed is not None
    assert installed[1] in extras
    assert node.metrics is not None
    assert f"http://{node.metrics.host}:{node.metrics.port}/" in text


def test_the_compose_file_mounts_files_that_are_there(node: NodeConfig) -> None:
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in document["services"].values():
        for volume in service["volumes"]:
            source, target = volume.split(":")[:2]
            if source.startswith("./") and not source.startswith("./site"):
                assert (DEPLOY / source).exists(), source
            elif not source.startswith("."):
                assert source in document["volumes"]
            assert target.startswith("/")
    assert any(str(node.state) in volume for volume in document["services"]["node"]["volumes"])
    mosquitto = (DEPLOY / "mosquitto.conf").read_text()
    mounted = {volume.split(":")[1] for volume in document["services"]["mosquitto"]["volumes"]}
    for setting in ("acl_file", "certfile", "persistence_location"):
        place = re.search(rf"^{setting} (\S+)", mosquitto, re.M)
        assert place is not None
        assert any(place[1].startswith(target) for target in mounted), (setting, place[1])
