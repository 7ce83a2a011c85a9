"""A device installs ``sightline[edge]`` and gets no Spark, no lakehouse, no stack."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).parent / "uv"
ABSENT = (
    "pyspark",
    "py4j",
    "delta",
    "deltalake",
    "pandas",
    "pyarrow",
    "numba",
    "great_expectations",
    "dbt",
    "onnx",
    "matplotlib",
)

PROBE = """
import importlib, importlib.util, json, pkgutil, sys
import sightline_contract, sightline_edge
for package in (sightline_contract, sightline_edge):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
print(json.dumps({"found": [n for n in sys.argv[1:] if importlib.util.find_spec(n)], "loaded": sorted(sys.modules)}))
"""


def uv(*arguments: str | Path) -> None:
    subprocess.run([UV, "--quiet", *arguments], cwd=ROOT, check=True, timeout=600)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the executables of a clean environment that holds ``sightline[edge]`` and nothing else."""
    folder = tmp_path_factory.mktemp("device")
    uv("venv", "--python", sys.executable, folder / "venv")
    # The lock pins versions; its hashes cover the packages and not the wheel of the project, which is built here.
    pins = [line.split("\\")[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if line[:1].isalnum()]
    (folder / "constraints.txt").write_text("\n".join(pins))
    uv("build", "--wheel", "--out-dir", folder, "--build-constraints", folder / "constraints.txt", ROOT)
    wheel = next(folder.glob("sightline-*.whl"))
    uv("pip", "install", "--python", folder / "venv", "--constraints", folder / "constraints.txt", f"{wheel}[edge]")
    return folder / "venv" / "bin"


def run(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    # Outside the checkout and without our PYTHONPATH, or the repository itself would be imported.
    environment = {"PATH": os.defpath, "HOME": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_every_edge_module_imports_where_spark_is_absent(device: Path, tmp_path: Path) -> None:
    result = run([device / "python", "-c", PROBE, *ABSENT], tmp_path)
    assert result.returncode == 0, result.stderr
    probe = json.loads(result.stdout)
    assert probe["found"] == []
    assert "onnxruntime" in probe["loaded"]  # so the modules were really loaded


def test_the_edge_command_runs_and_the_others_say_what_to_install(device: Path, tmp_path: Path) -> None:
    usage = run([device / "sightline", "edge", "run", "--help"], tmp_path)
    assert usage.returncode == 0, usage.stderr
    assert "--config" in usage.stdout
    for words in (["init"], ["issue", "gate-1"]):
        made = run([device / "sightline", "pki", *words], tmp_path)
        assert made.returncode == 0, made.stderr
    assert (tmp_path / "gate-1/node.pem").exists()
    refused = run([device / "sightline", "demo"], tmp_path)
    assert refused.returncode == 1
    assert "sightline[stack]" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
