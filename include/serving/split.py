"""Which version answers whom; a pure function, so that every server gives a caller the same answer."""

from __future__ import annotations

import hashlib


def answers(candidate: str, key: str, share: float) -> bool:
    """Whether a candidate's version answers the requests of a key, when it is to have this share of them.

    Who is answered by it at one share is so at every greater one. The version is part of the hash, so
    that it is not always the same callers who meet new versions first.
    """
    # A key may hold half a surrogate pair: JSON allows it, UTF-8 does not.
    text = f"{candidate}\0{key}".encode("utf-8", "surrogatepass")
    place = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
    return place < share * 2**64
