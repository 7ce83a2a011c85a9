"""Everything that crosses a process boundary: messages, topics, ids, configuration files, errors.

Edge nodes, streaming jobs, the lakehouse and the model tools meet only here. The package does no network I/O and imports
neither Spark nor an inference runtime, so that a device can carry it.
"""

import os
import sys
from typing import Final

# Inference runtimes tell their makers: ONNX Runtime from 1.29 on which models it loads (names, hashes of graph and weights), by
# way of a file below the home folder, and OpenVINO that it was imported. What a camera runs is nobody's business. Whatever
# loads a runtime has imported this package before: the one looks at the variable, the other does without the module.
NO_TELEMETRY: Final = "ORT_DISABLE_TELEMETRY"
os.environ[NO_TELEMETRY] = "1"
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
