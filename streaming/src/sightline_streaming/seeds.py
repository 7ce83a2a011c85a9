"""What a checkpoint of the tracking query begins with when it goes on from another one: states, and where to read from.

``seed/shard-NNNNN.bin`` is the state of a shard that has one; ``seed/manifest.json`` is written last and says which files there
are, their digests, and up to which message of each Kafka partition they know. A shard takes its seed while Spark keeps no state
for it yet, so its first micro-batch can be run again, and a shard that gets no messages keeps waiting for its own.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from sightline_contract.errors import StateError
from sightline_streaming.small_files import SmallFiles

MANIFEST = "seed/manifest.json"

Offsets = dict[str, dict[str, int]]
"""Topic to partition to the next message's offset, as Spark writes it."""

_EARLIEST = -2  # as Spark's startingOffsets say it


@dataclass(frozen=True)
class Seeds:
    """States by shard number, and the offsets at which they go on."""

    states: Mapping[int, bytes]
    offsets: Offsets
    moved_from: str  # name of the checkpoint before
    batch: int  # its last micro-batch

    def starting_offsets(self, partitions: Mapping[str, int]) -> str:
        """The Kafka source's ``startingOffsets``; ``partitions`` says how many each topic has by now.

        Those that a topic has got since are read from their beginning, as a running query would.
        """
        return json.dumps(
            {
                topic: {str(number): offsets.get(str(number), _EARLIEST) for number in range(partitions[topic])}
                for topic, offsets in self.offsets.items()
            }
        )


def write_seeds(files: SmallFiles, seeds: Seeds) -> None:
    """Write the seeds of the checkpoint that ``files`` are of; they are there when the manifest is."""
    digests = {}
    for number, state in sorted(seeds.states.items()):
        name = f"seed/shard-{number:05}.bin"
        files.write(name, state)
        digests[number] = {"file": name, "bytes": len(state), "sha256": hashlib.sha256(state).hexdigest()}
    manifest = {"moved_from": seeds.moved_from, "batch": seeds.batch, "offsets": seeds.offsets, "states": digests}
    files.write(MANIFEST, json.dumps(manifest, indent=1).encode())


def read_seeds(files: SmallFiles) -> Seeds | None:
    """The seeds of a checkpoint, or None where it began with nothing; raises StateError where a file is gone or damaged."""
    content = files.read(MANIFEST)
    if content is None:
        return None
    manifest = json.loads(content)
    states = {}
    for number, kept in manifest["states"].items():
        state = files.read(kept["file"])
        if state is None or hashlib.sha256(state).hexdigest() != kept["sha256"]:
            raise StateError(
                f"{files.folder}/{kept['file']}: is {'missing' if state is None else 'damaged'}: restore it from a copy"
            )
        states[int(number)] = state
    return Seeds(states, manifest["offsets"], manifest["moved_from"], manifest["batch"])
