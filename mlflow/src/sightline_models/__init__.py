"""Models: the catalogue, fetching, conversion to ONNX."""

import sightline_contract  # noqa: F401 - before any runtime, whose telemetry it turns off
