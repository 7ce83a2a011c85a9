"""What is wrong with an audit log: every row that was changed, removed, moved, put in or repeated, by its number. Pure.

A row keeps its own number, its hash and the hash before it, which tell these apart: a row whose hash is not that of its
content was changed, or stands at another number than it was made for (then its hash holds at that number); a number that no
row has was removed; a row that nobody's ``prev_hash`` names was put in, or written anew together with its hash. Whoever writes
every row anew from somewhere on leaves a chain that is whole in itself: signed checkpoints contradict it, and say between
which two of them it was. Only they tell that rows are missing at the end, too.

Rows come in the order of ``seq``; memory does not grow with their number, only with what is found.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from sightline_lakehouse.audit.chain import GENESIS, Row, row_hash

_NEAR: Final = 16  # a row that was moved so far is recognised at once; further ones are tried against those that are missing
_MOST_SUSPECTS: Final = 200  # rows that are tried against each other at the end
_MOST_TRIED: Final = 2_000


class Fault(StrEnum):
    """What was done to rows."""

    CHANGED = "changed"
    REMOVED = "removed"
    MOVED = "moved"  # reordered, renumbered
    INSERTED = "inserted"
    DUPLICATED = "duplicated"
    REWRITTEN = "rewritten"  # the chain is whole and is not the one that was signed
    CHECKPOINT = "checkpoint"  # a checkpoint itself is missing or not to be trusted


@dataclass(frozen=True)
class Finding:
    """What is wrong with the rows ``first`` to ``last``, in words that follow their number."""

    fault: Fault
    first: int
    last: int
    what: str

    def __str__(self) -> str:
        rows = f"row {self.first}" if self.first == self.last else f"rows {self.first} to {self.last}"
        return f"{rows}: {self.what}"


@dataclass(frozen=True)
class _Tip:
    """A row that may be the chain's newest; ``names`` are the hashes under which the next may know it."""

    row: Row
    names: frozenset[str]
    suspect: bool


@dataclass
class Verifier:
    """Judges rows one by one: add() each, then findings()."""

    heads: Mapping[int, str]  # hash by seq, as signed checkpoints state it
    rows: int = 0
    head: str = GENESIS  # hash of the newest row that was judged
    _ahead: list[tuple[int, int, int, Row, str]] = field(default_factory=list)  # a heap: rows by the number they were made for
    _number: int = 0
    _tips: list[_Tip] = field(default_factory=list)
    _broken: int | None = None  # the row behind which the chain broke, while it is open which of the two was written anew
    _agreed: int = 0  # newest row that a checkpoint states
    _rewritten: bool = False
    _unsure: list[Finding] = field(default_factory=list)
    _found: list[Finding] = field(default_factory=list)
    _absent: list[tuple[int, int]] = field(default_factory=list)
    _suspects: list[Row] = field(default_factory=list)
    _put_in: set[Row] = field(default_factory=set)

    def add(self, row: Row) -> None:
        """Judge the next row; of rows with one ``seq`` the order does not matter."""
        self.rows += 1
        computed, number = row_hash(row.prev_hash, row.seq, row.entry), row.seq
        if computed != row.hash and (stood := _stood_near(row)):
            computed, number = row.hash, stood
        if number < 1:
            self._insert(row, "was put in: numbers begin with 1")
            return
        heapq.heappush(self._ahead, (number, abs(row.seq - number), self.rows, row, computed))
        while self._ahead and self._ahead[0][0] < row.seq - _NEAR:
            self._judge(*heapq.heappop(self._ahead))

    def findings(self) -> list[Finding]:
        """Everything that was found, by number; call it once, after the last row."""
        while self._ahead:
            self._judge(*heapq.heappop(self._ahead))
        self._settle_tips([])
        self._settle_break(None)
        ends = max(self.heads, default=0)
        newest = self._number
        if ends > newest:
            self._absent.append((newest + 1, ends))
        moved = self._try_suspects()
        places = {finding.first for finding in self._found if finding.fault is Fault.MOVED}
        self._found += [finding for finding in self._unsure if finding.last not in places]
        for first, last in _without(self._absent, moved):
            where = " at the end, as a signed checkpoint tells" if first > newest else ""
            self._found.append(Finding(Fault.REMOVED, first, last, f"{'was' if first == last else 'were'} removed{where}"))
        return sorted(self._found, key=lambda finding: (finding.first, finding.last, finding.fault))

    def _judge(self, number: int, _moved: int, _order: int, row: Row, computed: str) -> None:
        """Judge a row by the number that it was made for; numbers never fall."""
        tip = _Tip(row, frozenset({row.hash, computed}), computed != row.hash)
        if number == self._number:
            self._compete(tip)
            return
        if row.seq != number:
            self._note_move(row.seq, number)
        if number > self._number + 1:
            self._absent.append((self._number + 1, number - 1))
        self._continue(tip, number)
        self._tips, self._number, self.head = [self._judged(tip)], number, row.hash

    def _continue(self, tip: _Tip, number: int) -> None:
        """Close the number before, and see whether the row of ``tip`` was chained to it."""
        row = tip.row
        if number != self._number + 1:
            self._settle_tips([])
            self._settle_break(None)
        elif number == 1:
            if row.prev_hash != GENESIS and not tip.suspect:
                what = "does not begin the chain: rows before it were removed, or it was written anew"
                self._found.append(Finding(Fault.REWRITTEN, row.seq, row.seq, what))
        else:
            named = [
                other
                for other in self._tips
                # A changed prev_hash: the row's hash says what stood there.
                if row.prev_hash in other.names or any(row_hash(name, number, row.entry) == row.hash for name in other.names)
            ]
            before, sure = self._tips[0].row.seq, tip.suspect or any(other.suspect for other in self._tips)
            self._settle_tips(named)
            self._settle_break(None if named or sure else before)

    def _settle_tips(self, named: list[_Tip]) -> None:
        """Of several rows with one number, keep the one that the next row, or a checkpoint, names."""
        stated = self.heads.get(self._number)
        if stated is not None and self._tips:
            agreeing = [tip for tip in self._tips if stated in tip.names]
            named = agreeing or named
            self._compare(bool(agreeing))
        if len(self._tips) > 1:
            sure = "was put in" if named else "stands beside another row of this number, and one of them was put in"
            for tip in self._tips:
                if tip not in named:
                    self._insert(tip.row, f"{sure} ({_named(tip.row)})")

    def _compare(self, agrees: bool) -> None:
        if agrees:
            self._agreed = self._number
        elif not self._rewritten:  # each later checkpoint says the same
            self._rewritten = True
            what = "the chain was written anew: the signed checkpoint of the last of them states another hash"
            finding = Finding(Fault.REWRITTEN, self._agreed + 1, self._number, what)
            # A row that was moved here is not what was signed, and needs no second word.
            (self._unsure if self._tips[0].suspect else self._found).append(finding)

    def _settle_break(self, before: int | None) -> None:
        """The chain breaks behind the row ``before``, or holds (None)."""
        if self._broken is None:
            self._broken = before
            return
        # It breaks on both sides of a row: that one was written anew. Else the one before the only break was.
        seq = self._broken if before is None else before
        what = "was changed together with its hash: the row behind it was chained to another one"
        self._found.append(Finding(Fault.CHANGED, seq, seq, what))
        self._broken = None

    def _insert(self, row: Row, what: str) -> None:
        self._put_in.add(row)
        self._found.append(Finding(Fault.INSERTED, row.seq, row.seq, what))

    def _judged(self, tip: _Tip) -> _Tip:
        """A row whose hash is not its content's, with what else the next row may know it by: its hash behind the row before."""
        if not tip.suspect:
            return tip
        row = tip.row
        befores = {name for other in self._tips for name in other.names} if self._number else {GENESIS}
        rehashed = {row_hash(name, row.seq, row.entry) for name in befores}
        if row.hash in rehashed:
            self._found.append(Finding(Fault.CHANGED, row.seq, row.seq, f"its prev_hash was changed ({_named(row)})"))
        else:
            self._suspects.append(row)
        return replace(tip, names=tip.names | rehashed)

    def _compete(self, tip: _Tip) -> None:
        row = tip.row
        if any((row.entry, row.hash) == (other.row.entry, other.row.hash) for other in self._tips):
            twice = "stands twice" if row.seq == self._number else f"is row {self._number} once more"
            self._found.append(Finding(Fault.DUPLICATED, row.seq, row.seq, f"{twice} ({_named(row)})"))
            return
        self._tips.append(tip)
        if tip.suspect:
            self._suspects.append(row)

    def _note_move(self, seq: int, stood: int) -> None:
        last = self._found[-1] if self._found else None
        if (
            last
            and last.fault is Fault.MOVED
            and (last.last, last.what) == (seq - 1, _moved_by(stood - seq, last.first, seq - 1))
        ):
            self._found[-1] = Finding(Fault.MOVED, last.first, seq, _moved_by(stood - seq, last.first, seq))
        else:
            self._found.append(Finding(Fault.MOVED, seq, seq, _moved_by(stood - seq, seq, seq)))

    def _try_suspects(self) -> set[int]:
        """Say of each row with a wrong hash what was done to it. Returns the numbers at which moved ones stood."""
        missing = [n for first, last in self._absent[:_MOST_TRIED] for n in range(first, min(last + 1, first + _MOST_TRIED))]
        tried, moved = self._suspects[:_MOST_SUSPECTS], set()
        numbers = missing[:_MOST_TRIED] + [row.seq for row in tried]
        for row in tried:
            stood = next((n for n in numbers if row_hash(row.prev_hash, n, row.entry) == row.hash), None)
            held = [other for other in tried if other != row and row_hash(row.prev_hash, row.seq, other.entry) == row.hash]
            if stood is not None:
                moved.add(stood)
                self._note_move(row.seq, stood)
            elif held:
                what = f"holds what another row held, and row {held[0].seq} holds what was here: they were reordered"
                self._found.append(Finding(Fault.MOVED, row.seq, row.seq, what))
            else:
                self._note_change(row)
        for row in self._suspects[_MOST_SUSPECTS:]:
            self._note_change(row)
        return moved

    def _note_change(self, row: Row) -> None:
        if row not in self._put_in:
            self._found.append(Finding(Fault.CHANGED, row.seq, row.seq, f"was changed ({_named(row)})"))


def _stood_near(row: Row) -> int | None:
    """The number near its own at which the row's hash holds."""
    for step in range(1, _NEAR + 1):
        for number in (row.seq + step, row.seq - step):
            if number > 0 and row_hash(row.prev_hash, number, row.entry) == row.hash:
                return number
    return None


def _moved_by(shift: int, first: int, last: int) -> str:
    if first == last:
        return f"was row {first + shift}: rows were reordered or renumbered"
    return f"were rows {first + shift} to {last + shift}: rows were reordered or renumbered"


def _named(row: Row) -> str:
    """The row as a person may know it, on one line whatever it holds."""
    entry = row.entry
    return f"kind {str(entry.kind)[:60]!r}, record {str(entry.record_id)[:80]!r}, offset {entry.source_offset}"


def _without(ranges: Iterable[tuple[int, int]], numbers: set[int]) -> list[tuple[int, int]]:
    """The ranges (both ends included) without single numbers."""
    left = []
    for start, last in ranges:
        first = start
        for number in sorted(n for n in numbers if start <= n <= last):
            if number > first:
                left.append((first, number - 1))
            first = number + 1
        if first <= last:
            left.append((first, last))
    return left
