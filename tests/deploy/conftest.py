"""The deployment as Kubernetes would get it: every overlay rendered, once a run."""

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import yaml
from kustomize import build_command
from manifests import Document

DEPLOY = Path(__file__).parents[2] / "streaming/deploy"
OVERLAYS = ("city-5000", "city-50000")


@pytest.fixture(scope="session")
def render() -> Callable[[str], list[Document]]:
    """All documents of a folder below streaming/deploy."""
    command = build_command()

    @cache
    def documents(folder: str) -> list[Document]:
        ended = subprocess.run([*command, str(DEPLOY / folder)], capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 0, ended.stderr
        # Kustomize warns of deprecated fields and of patches that meet nothing.
        assert ended.stderr == ""
        return [document for document in yaml.safe_load_all(ended.stdout) if document]

    return documents


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, render: Callable[[str], list[Document]]) -> list[Document]:
    """All documents of one overlay."""
    return render(f"overlays/{request.param}")
