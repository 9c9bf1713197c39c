"""Near-duplicates by other libraries, as their own documentation uses them: what `curation.py` stands beside.

Each function takes texts in memory and returns how many have a near-duplicate before them (word 5-grams, 14 bands
of 8), and raises `ImportError` where its library is not installed. Where a library takes no text, the 5-grams are made
in Python, as its users must.
"""

from __future__ import annotations


def runs_of_words(text: str) -> list[str]:
    """The word 5-grams of a text in lower case."""
    tokens = text.lower().split()
    return [" ".join(tokens[i : i + 5]) for i in range(max(1, len(tokens) - 4))]


def gaoya(texts: list[str]) -> int:
    """By gaoya, which takes text."""
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(32, 0.7, 14, 8, None, "word", True, (5, 5))
    found = 0
    for i, text in enumerate(texts):
        found += bool(index.query(text))
        index.insert_document(i, text)
    return found


def rensa(texts: list[str]) -> int:
    """By rensa."""
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=0.7, num_perm=112, num_bands=14)
    found = 0
    for i, text in enumerate(texts):
        signature = RMinHash(num_perm=112, seed=1)
        signature.update(runs_of_words(text))
        found += bool(index.query(signature))
        index.insert(i, signature)
    return found


def datasketch(texts: list[str]) -> int:
    """By datasketch."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=112, params=(14, 8))
    found = 0
    for i, text in enumerate(texts):
        signature = MinHash(num_perm=112)
        signature.update_batch([run.encode() for run in runs_of_words(text)])
        found += bool(index.query(signature))
        index.insert(i, signature)
    return found


PEERS = (gaoya, rensa, datasketch)
