"""Shard keys that spread evenly over Spark's state partitions.

Spark puts the group ``key`` into partition ``pmod(murmur3(key, seed 42), partitions)``. Eight shards numbered 0 to 7 fall
3 : 5 into two partitions, and the fuller one decides how long a micro-batch takes. So shard i is called by the smallest
unused number that lands in partition ``i % partitions``.
"""

_SEED = 42
_MASK = 0xFFFFFFFF


def shard_keys(shards: int, partitions: int) -> list[int]:
    """The key of each shard, by shard number."""
    found: dict[int, list[int]] = {partition: [] for partition in range(partitions)}
    wanted = -(-shards // partitions)
    candidate = 0
    while any(len(found[shard % partitions]) < wanted for shard in range(min(shards, partitions))):
        keys = found[partition_of(candidate, partitions)]
        if len(keys) < wanted:
            keys.append(candidate)
        candidate += 1
    return [found[shard % partitions][shard // partitions] for shard in range(shards)]


def partition_of(key: int, partitions: int) -> int:
    """Spark's partition of a group whose key is one int column."""
    mixed = _SEED ^ (_rotate_left((key & _MASK) * 0xCC9E2D51 & _MASK, 15) * 0x1B873593 & _MASK)
    mixed = (_rotate_left(mixed, 13) * 5 + 0xE6546B64) & _MASK
    mixed ^= 4  # length of the key, bytes
    mixed = (mixed ^ (mixed >> 16)) * 0x85EBCA6B & _MASK
    mixed = (mixed ^ (mixed >> 13)) * 0xC2B2AE35 & _MASK
    mixed ^= mixed >> 16
    signed = mixed - (1 << 32) if mixed >> 31 else mixed
    return signed % partitions


def _rotate_left(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _MASK
