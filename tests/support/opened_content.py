"""Looking for the content of sealed parts on a node's disk."""

from collections.abc import Callable, Mapping
from pathlib import Path

from bundle_rig import Bundle

from sightline_edge.rollout.unsealing import unsealed

_PIECE_BYTES = 24


def plaintexts(bundle: Bundle, content_key: bytes) -> dict[str, bytes]:
    """The content of the bundle's sealed parts, by their names."""
    return {
        name: b"".join(unsealed(bundle.part(name), content_key, name, part))
        for name, part in bundle.manifest.parts.items()
        if part.sealed
    }


def search(folder: Path, contents: Mapping[str, bytes], known: bytes = b"") -> Callable[[], list[str]]:
    """Finds the files below ``folder``, hidden ones too, that hold a piece of one of the contents.

    Pieces that ``known`` has as well, which may lie open, are not looked for.
    """
    pieces = {name: _pieces(content, known) for name, content in contents.items()}
    assert pieces
    assert all(pieces.values()), "there is nothing to look for"

    def look() -> list[str]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return sorted(
            str(path.relative_to(folder))
            for path, content in ((path, path.read_bytes()) for path in files)
            if any(piece in content for each in pieces.values() for piece in each)
        )

    return look


def _pieces(content: bytes, known: bytes) -> list[bytes]:
    """Distinctive runs of bytes all through the content."""
    step = max(1, len(content) // 200)
    pieces = {content[at : at + _PIECE_BYTES] for at in range(0, len(content) - _PIECE_BYTES, step)}
    return [piece for piece in pieces if len(set(piece)) > _PIECE_BYTES // 2 and piece not in known]
