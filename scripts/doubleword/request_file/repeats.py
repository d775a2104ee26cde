"""What occurs more than once among millions of byte strings."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from itertools import pairwise


class Repeats:
    """Finds what occurs more than once among millions of byte strings, in 8 bytes each.

    Keeps Python's keyed 64-bit hashes, sorted in blocks. Equal hashes are a suspicion, to be looked at again.
    """

    BLOCK = 50_000
    SUSPECTS = 50_000  # more are not needed to list twenty, and memory stays bounded

    def __init__(self) -> None:
        self._blocks: list[tuple[array[int], bytes]] = []  # each hash of a block once; whether it came again in it
        self._block: list[int] = []
        self.extra = 0  # how many have the hash of an earlier one; known after suspects()
        self.repeated = 0  # how many hashes occur more than once; likewise

    def add(self, item: bytes) -> None:
        self._block.append(hash(item))
        if len(self._block) >= self.BLOCK:
            self._close()

    def _close(self) -> None:
        distinct, again = sorted(set(self._block)), b""
        if len(distinct) != len(self._block):
            times = Counter(self._block)
            again = bytes(times[h] > 1 for h in distinct)
            self.extra += len(self._block) - len(distinct)
        self._blocks.append((array("q", distinct), again))
        self._block = []

    def suspects(self) -> set[int]:
        """The hashes seen more than once, the first SUSPECTS of them. To be asked once, at the end."""
        self._close()
        found: set[int] = set()
        slices = len(self._blocks)
        edges = [-(2**63) + (2**64 * i) // slices for i in range(slices)] + [2**63 - 1]
        for low, high in pairwise(edges):
            one: list[int] = []
            twice: set[int] = set()
            for hashes, again in self._blocks:
                start, end = bisect_left(hashes, low), bisect_left(hashes, high)
                one += hashes[start:end]
                if again:
                    twice.update(h for h, came in zip(hashes[start:end], again[start:end], strict=True) if came)
            times = Counter(one)
            if len(times) != len(one):
                twice.update(h for h, count in times.items() if count > 1)
                self.extra += len(one) - len(times)
            self.repeated += len(twice)
            found.update(h for h in twice if len(found) < self.SUSPECTS)
        return found
