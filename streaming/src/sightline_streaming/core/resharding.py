"""The cameras of a number of shards dealt out to another number of shards.

A camera goes where its messages go (``ids.shard_of``), and all that is remembered of it goes with it, record for record: what a
shard knows is a sum over its cameras. A camera in shard 0 that belongs elsewhere came in messages without a key, whose shard is
0 under every number: it stays there. The result does not depend on how the cameras lay before.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sightline_contract.errors import StateError
from sightline_contract.ids import shard_of
from sightline_streaming.core.kernel import Records
from sightline_streaming.core.memory import CAMERA, Memory, Parts
from sightline_streaming.core.records import SCENE

Ints = npt.NDArray[np.int64]

# Of Parts.used, what counts for each of Parts' arrays: tracks and paths run in parallel.
_USED_OF = (0, 0, 1, 2, 3, 4, 5, 6)


def reshard(memories: Sequence[Memory], shards: int) -> list[Memory]:
    """The cameras of ``memories``, of shard i at place i, in ``shards`` memories, of shard i at place i.

    Raises StateError where a camera lies in a shard that is not its own, or would meet itself.
    """
    homes = [_home(name, here, len(memories), shards) for here, memory in enumerate(memories) for name in memory.names]
    everything = _joined(memories)
    names = everything.names
    order = sorted(range(len(names)), key=names.__getitem__)
    for before, after in pairwise(order):
        if names[before] == names[after] and homes[before] == homes[after]:
            raise StateError(
                f"camera {names[after].decode()} is in two shards, once of messages without a key, and both would be shard "
                f"{homes[after]} of {shards}: have its node write keys, or choose another number of shards"
            )
    return [_picked(everything, np.array([k for k in order if homes[k] == shard], np.int64)) for shard in range(shards)]


def _home(name: bytes, here: int, before: int, after: int) -> int:
    camera = name.decode()
    if shard_of(camera, before) == here:
        return shard_of(camera, after)
    if here == 0:
        return 0
    raise StateError(f"camera {camera} is in shard {here} of {before}, and its own is {shard_of(camera, before)}: wrong shards")


def _joined(memories: Sequence[Memory]) -> Memory:
    """One memory of all cameras, not sorted."""
    models = sorted({model for memory in memories for model in memory.models})
    place = {model: k for k, model in enumerate(models)}
    cameras = _concatenated([memory.cameras for memory in memories], CAMERA)
    cameras["model"] = [place[memory.models[k]] for memory in memories for k in memory.cameras["model"]]
    scenes = _concatenated([memory.scenes for memory in memories], SCENE)
    used = sum((memory.parts.used for memory in memories), np.zeros(max(_USED_OF) + 1, np.int64))
    parts = zip(*(_arrays(memory.parts) for memory in memories), strict=True)
    arrays = [_concatenated(arrays, arrays[0].dtype) for arrays in parts]
    return Memory([name for memory in memories for name in memory.names], models, cameras, scenes, Parts(used, *arrays))


def _picked(memory: Memory, places: Ints) -> Memory:
    """A memory of the cameras at ``places``, in this order."""
    cameras = memory.cameras[places]
    used_models, cameras["model"] = np.unique(cameras["model"], return_inverse=True)
    counts = _counts(memory.cameras)
    arrays = [array[_runs(own, places)] for array, own in zip(_arrays(memory.parts), counts, strict=True)]
    used = np.array([len(arrays[_USED_OF.index(k)]) for k in range(max(_USED_OF) + 1)], np.int64)
    names, models = [memory.names[k] for k in places], [memory.models[k] for k in used_models]
    return Memory(names, models, cameras, memory.scenes[places], Parts(used, *arrays))


def _counts(cameras: Records) -> tuple[Ints, ...]:
    """How many records each camera has in each of Parts' arrays."""
    tracks, rules = cameras["n_tracks"], cameras["n_rules"]
    trails, looks = np.where(rules > 0, tracks, 0), np.where(cameras["look_size"] > 0, tracks, 0)
    counts = (tracks, tracks, cameras["n_windows"], cameras["n_tallies"], trails, rules, cameras["n_habits"], looks)
    return tuple(count.astype(np.int64) for count in counts)


def _runs(counts: Ints, places: Ints) -> Ints:
    """Where the records of the cameras at ``places`` lie, when all cameras' lie one after another, ``counts`` of each."""
    starts, wanted = np.cumsum(counts) - counts, counts[places]
    within = np.arange(wanted.sum()) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    runs: Ints = np.repeat(starts[places], wanted) + within
    return runs


def _arrays(parts: Parts) -> list[Records]:
    """Parts' arrays as far as they are filled."""
    return [array[: parts.used[k]] for array, k in zip(parts[1:], _USED_OF, strict=True)]


def _concatenated(arrays: Sequence[Records], kind: np.dtype[np.void]) -> Records:
    # Not numpy's own: it would take the padding out of records.
    whole = np.zeros(sum(map(len, arrays)), kind)
    at = 0
    for array in arrays:
        whole[at : at + len(array)] = array
        at += len(array)
    return whole
