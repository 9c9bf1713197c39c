"""Grouping over arrays: pairs that share a key, connected components, the best of each group.

Pure functions on numpy arrays with flat memory; every result is independent of the order of its input.
Nothing here knows what the hashes stand for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

WINDOW = 48
"""Neighbours in a bucket that a member is paired with, besides the bucket's first member."""


def run_starts(*sorted_keys: Hashes | Indexes) -> Indexes:
    """Indexes at which a run of equal keys begins, in arrays that were sorted together."""
    import numpy as np

    count = len(sorted_keys[0])
    new = np.zeros(count, dtype=bool)
    new[:1] = True
    for keys in sorted_keys:
        new[1:] |= keys[1:] != keys[:-1]
    return np.flatnonzero(new)


def pairs(keys: Hashes, who: Hashes, old: Flags) -> tuple[Hashes, Hashes]:
    """Distinct pairs of members that share a key, without those that are both old.

    keys, who, old: one entry per (key, member), any order. A bucket of more than `WINDOW` members does not
    give all its pairs: each member meets the next `WINDOW` (old ones first, then by hash) and the first.
    """
    import numpy as np

    # Most keys stand alone, so these go before the costly sort.
    keep = _company(keys)
    keys, who, old = keys[keep], who[keep], old[keep]
    order = np.lexsort((who, ~old, keys))
    keys, who, old = keys[order], who[order], old[order]
    count = len(keys)
    starts = run_starts(keys)
    first = np.repeat(starts, np.diff(np.append(starts, count)))
    far = np.flatnonzero(np.arange(count) - first > WINDOW)
    lefts, rights = [first[far]], [far]
    index = np.arange(count)
    for step in range(1, WINDOW + 1):
        index = index[index + step < count]
        index = index[keys[index] == keys[index + step]]
        if not len(index):
            break
        lefts.append(index)
        rights.append(index + step)
    left, right = np.concatenate(lefts), np.concatenate(rights)
    wanted = ~(old[left] & old[right]) & (who[left] != who[right])
    return distinct(who[left[wanted]], who[right[wanted]])


def _company(keys: Hashes) -> Indexes:
    """Which entries may have a key that another has, too: all that have one, and hardly any more."""
    import numpy as np

    # Numbers are sorted ten times faster than places by them, so the place takes the key's low bits.
    bits = np.uint64(len(keys).bit_length())
    packed = (keys >> bits << bits) | np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    upper = packed >> bits
    again = upper[1:] == upper[:-1]
    shared = np.zeros(len(keys), dtype=bool)
    shared[1:] = again
    shared[:-1] |= again
    return (packed[shared] & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)


def distinct(left: Hashes, right: Hashes) -> tuple[Hashes, Hashes]:
    """The pairs once each, the smaller hash on the left, sorted."""
    import numpy as np

    low, high = np.minimum(left, right), np.maximum(left, right)
    order = np.lexsort((high, low))
    low, high = low[order], high[order]
    starts = run_starts(low, high)
    return low[starts], high[starts]


def components(count: int, a: Indexes, b: Indexes) -> Indexes:
    """Connected components of nodes 0..count-1 under the edges a-b: each node's smallest reachable index."""
    import numpy as np

    label = np.arange(count)
    while True:
        before = label.copy()
        low = np.minimum(label[a], label[b])
        for end in (a, b):
            np.minimum.at(label, before[end], low)
            np.minimum.at(label, end, low)
        label = label[label]
        if np.array_equal(label, before):
            return label


def best_of(component: Indexes, place: Indexes) -> Indexes:
    """For each node the member of its component with the smallest `place`; `component` as by `components`."""
    import numpy as np

    order = np.lexsort((place, component))
    starts = run_starts(component[order])
    best = np.empty(len(order), dtype=np.int64)
    best[component[order[starts]]] = order[starts]
    found: Indexes = best[component]
    return found


def leaders(
    pairs: tuple[Indexes, Indexes],
    place: Indexes,
    safe: Flags,
    gone: Flags,
    same: Callable[[Indexes, Indexes], Flags],
) -> Indexes:
    """For each node the one that it is left out for, itself if it stays.

    The best of each connected group takes those that are the same as it; what is left of the group is looked
    at without them, so nobody goes for one that goes, nor for one that only a neighbour is like.

    pairs: nodes that are the same. place: order of who stays, the smallest first. safe: nodes that always
    stay. gone: nodes that are not there and take nobody. same: which of the given pairs are the same.
    """
    import numpy as np

    a, b = pairs
    winners, gone = np.arange(len(place)), gone.copy()
    while True:
        left = ~(gone[a] | gone[b])
        a, b = a[left], b[left]
        if not len(a):
            return winners
        # Only nodes that still have a partner are looked at, because a long chain takes many rounds.
        nodes, ends = np.unique(np.concatenate((a, b)), return_inverse=True)
        best = nodes[best_of(components(len(nodes), *np.split(ends, 2)), place[nodes])]
        gone[best] = True
        other = ~safe[nodes] & (best != nodes)
        nodes, best = nodes[other], best[other]
        alike = same(nodes, best)
        nodes, best = nodes[alike], best[alike]
        winners[nodes] = best
        gone[nodes] = True
