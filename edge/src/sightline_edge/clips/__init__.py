"""Audit clips: the newest frames on the node's own disk, bounded in age and size, and out of it by a person's command only.

    ring.py     what the node calls: frames in, never waiting; a thread writes and purges
    store.py    the ring on the disk: segments, both limits, recovery at start
    segment.py  one file: H.264 in Matroska
    blur.py     regions made unrecognisable before anything is encoded
    ledger.py   which segments there are, and what was deleted, when and why
    clock.py    the clocks that a frame's age is told by
    export.py   a clip for somebody else: audited first, then there

Nothing in this package sends anything.
"""
