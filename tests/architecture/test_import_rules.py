"""The rooms keep their doors: who may import whom, and what the repository may hold."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def test_every_import_contract_is_kept() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("folder", ["mlflow", "tests/mlflow", "tests/dbt"])
def test_no_folder_of_ours_hides_a_library(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()
    assert not list((ROOT / folder).glob("*.py"))


def test_the_dbt_project_holds_no_python_module() -> None:
    assert not [path for path in tracked_files() if path.is_relative_to(ROOT / "dbt") and path.suffix == ".py"]


def test_no_file_names_a_package_registry() -> None:
    # Written in halves, or this file would break the rule that it keeps.
    hosts = [
        "py" + "pi.org",
        "files.python" + "hosted.org",
        "repo1.maven" + ".org",
        "repo.maven" + ".apache.org",
        "registry.npm" + "js.org",
    ]
    named = [
        f"{path.relative_to(ROOT)}: {host}" for path in tracked_files() for host in hosts if host.encode() in path.read_bytes()
    ]
    assert named == []


def test_no_binary_weight_video_or_dataset_is_committed() -> None:
    big_or_binary = [
        path.name for path in tracked_files() if path.stat().st_size > 2_000_000 or b"\0" in path.read_bytes()[:8192]
    ]
    assert big_or_binary == []


def test_tensorrt_is_loaded_in_two_files_and_only_when_it_is_wanted() -> None:
    loading: set[str] = set()
    at_once: set[str] = set()
    for path in tracked_files():
        if path.suffix != ".py" or "tests" in path.parts:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if _loads(node, "tensorrt") or _loads(node, "tensorrt_bindings"):
                loading.add(path.name)
        late = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
        at_once |= {path.name for node in ast.walk(tree) if id(node) not in late and _loads(node, "tensorrt")}
        at_once |= {path.name for node in ast.walk(tree) if id(node) not in late and _loads(node, "tensorrt_bindings")}
    assert loading == {"tensorrt.py", "tensorrt_engine.py"}
    assert at_once == set()


def _loads(node: ast.AST, package: str) -> bool:
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] == package
    return isinstance(node, ast.Import) and package in {alias.name.split(".")[0] for alias in node.names}
