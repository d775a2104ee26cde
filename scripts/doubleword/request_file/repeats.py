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
        self._blocks: list[array[int]] = []
        self._block: list[int] = []
        self.extra = 0  # how many have the hash of an earlier one; known after suspects()
        self.repeated = 0  # how many hashes occur more than once; likewise

    def add(self, item: bytes) -> None:
        self._block.append(hash(item))
        if len(self._block) >= self.BLOCK:
            self._close()

    def _close(self) -> None:
        self._blocks.append(array("q", sorted(self._block)))
        self._block = []

    def suspects(self) -> set[int]:
        """The hashes seen more than once, the first SUSPECTS of them."""
        self._close()
        found: set[int] = set()
        slices = len(self._blocks)
        edges = [-(2**63) + (2**64 * i) // slices for i in range(slices)] + [2**63 - 1]
        for low, high in pairwise(edges):
            one = [h for b in self._blocks for h in b[bisect_left(b, low) : bisect_left(b, high)]]
            if len(set(one)) != len(one):
                twice = Counter(one)
                self.extra += len(one) - len(twice)
                self.repeated += sum(times > 1 for times in twice.values())
                found.update(h for h, times in twice.items() if times > 1 and len(found) < self.SUSPECTS)
        return found
