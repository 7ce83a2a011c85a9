"""The committed protobuf code is what the compiler makes of detection.proto today."""

import subprocess
import sys
from pathlib import Path

import sightline_contract
from sightline_contract.detection_pb2 import DetectionBatch

PACKAGE = Path(sightline_contract.__file__).parent

# Number and type of every field that was ever released: a field is added here, never changed or removed.
RELEASED = {
    "schema_version": (1, "uint32"), "node_id": (2, "string"), "camera_id": (3, "string"), "model_name": (4, "string"),
    "model_version": (5, "string"), "model_digest": (6, "bytes"), "session": (7, "uint64"), "seq": (8, "uint64"),
    "captured_us": (9, "int64"), "frame_width": (10, "uint32"), "frame_height": (11, "uint32"),
    "frame_rate_mhz": (12, "uint32"), "first_frame": (13, "uint64"), "frames_skipped": (14, "uint32"),
    "end_of_session": (15, "bool"), "frame_offset_ms": (16, "bytes"), "detections_per_frame": (17, "bytes"),
    "boxes": (18, "bytes"), "scores": (19, "bytes"), "classes": (20, "bytes"),
}  # fmt: skip
TYPE_NAMES = {3: "int64", 4: "uint64", 8: "bool", 9: "string", 12: "bytes", 13: "uint32"}


def test_a_fresh_generation_equals_the_committed_code(tmp_path: Path) -> None:
    sources = PACKAGE.parent
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{sources}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*command, "sightline_contract/detection.proto"], cwd=sources, check=True, timeout=60)
    for name in ("detection_pb2.py", "detection_pb2.pyi"):
        assert (tmp_path / "sightline_contract" / name).read_text() == (PACKAGE / name).read_text(), f"run 'make proto': {name}"


def test_released_fields_keep_number_and_type() -> None:
    now = {f.name: (f.number, TYPE_NAMES[f.type]) for f in DetectionBatch.DESCRIPTOR.fields}
    assert {name: now.get(name) for name in RELEASED} == RELEASED
