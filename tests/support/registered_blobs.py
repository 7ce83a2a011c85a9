"""Versions of the small blob detector in a registry."""

from pathlib import Path

import onnx
import yaml
from blob_detector import write_blob_detector

from sightline_models.pull import pull_file
from sightline_models.registry import Registry


def register_blobs(registry: Registry, folder: Path, name: str, *words: str) -> None:
    """One version for each word, which makes its digest its own."""
    card = {
        "name": name,
        "licence": "MIT",
        "labels": ["person"],
        "output": {"name": "detections", "decode": "boxes_score_class"},
        "input": {"name": "image", "size": [64, 64], "layout": "NHWC", "channels": "RGB", "resize": "stretch"},
    }
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    for word in words:
        path = write_blob_detector(folder / f"{word}.onnx")
        content = onnx.load(path)
        content.doc_string = word
        onnx.save(content, path)
        registry.register(pull_file(path, folder / f"models-{word}", folder / "card.yaml"), "ada")
