"""Detections as they came, unpacked from the raw messages: how many a frame held, and how sure the detector was."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.results.reading import Results
from sightline_contract.batch import get_frames, parse_batch
from sightline_contract.errors import ContractError

# Unpacking is a Python loop; a run of a day is shown by a sample of its messages.
MAX_MESSAGES = 5_000


@dataclass(frozen=True)
class Detections:
    """Frames in the order of their capture, and all scores. Times are microseconds since the start."""

    times_us: npt.NDArray[np.int64]  # (F,)
    counts: npt.NDArray[np.int64]  # (F,)
    scores: npt.NDArray[np.float64]  # (N,)


def read_detections(results: Results, start_us: int) -> Detections:
    """Unpack the session's messages; one delivered twice counts once, one that breaks the contract is left out."""
    payloads = results.messages["value"].to_pylist()
    batches = {}
    for payload in payloads[:: max(1, -(-len(payloads) // MAX_MESSAGES))]:
        try:
            batch = parse_batch(payload or b"")
        except ContractError:
            continue
        if batch.session == results.session:
            batches[batch.seq] = batch
    ordered = sorted(batches.values(), key=lambda batch: batch.captured_us)
    frames = [get_frames(batch) for batch in ordered]
    times = [
        batch.captured_us - start_us + one.offset_ms.astype(np.int64) * 1000 for batch, one in zip(ordered, frames, strict=True)
    ]
    return Detections(
        times_us=np.concatenate([np.empty(0, np.int64), *times]),
        counts=np.concatenate([np.empty(0, np.int64), *(one.counts.astype(np.int64) for one in frames)]),
        scores=np.concatenate([np.empty(0), *(one.scores.astype(np.float64) for one in frames)]),
    )
