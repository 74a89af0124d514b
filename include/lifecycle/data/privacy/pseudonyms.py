"""Turns a value into its pseudonym: a keyed hash that the key's holder alone can make again."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.store.connections import Connections

_NAME = re.compile(r"[A-Za-z0-9-]{1,32}")
_SHORTEST = 16
_DIGITS = 32


@dataclass(frozen=True)
class Key:
    """A key and its name, which every pseudonym begins with; the key does not show when printed."""

    name: str
    secret: bytes = field(repr=False)

    def pseudonym(self, value: str) -> str:
        """`<name>_<32 hexadecimal digits of HMAC-SHA256>`: the same value, the same in every dataset."""
        return f"{self.name}_{hmac.digest(self.secret, value.encode(), 'sha256').hex()[:_DIGITS]}"

    def pseudonyms(self, values: pa.Array) -> pa.Array:
        """Pseudonyms of a text column; a missing or empty value stays as it is."""
        found = values.dictionary_encode()
        words = [self.pseudonym(word) if word else word for word in found.dictionary.to_pylist()]
        return pa.array(words, pa.string()).take(found.indices)

    def mark(self, value: str) -> str:
        """How an erased person is remembered: a keyed hash that is not their pseudonym in the tables."""
        return self.pseudonym(f"erased {value}")

    @property
    def fingerprint(self) -> str:
        """Eight digits that tell another key of the same name."""
        return hmac.digest(self.secret, b"fingerprint of the key", "sha256").hex()[:8]


@dataclass(frozen=True)
class Keys:
    """The key that new pseudonyms are made with, and the ones that older pseudonyms were made with."""

    current: Key
    retired: tuple[Key, ...] = ()

    def __iter__(self) -> Iterator[Key]:
        return iter((self.current, *self.retired))

    def holder(self, name: str, fingerprint: str) -> Key:
        """The key that somebody was erased under; raises Rejected when it is gone, or another one now."""
        cure = 'put it back into its extra as {"secret_keys": {name: key}}'
        found = {key.name: key for key in self}.get(name)
        if found is None:
            raise Rejected(
                f"key {name!r} is not in the connection any more, and people were erased under it: {cure}"
            )
        if found.fingerprint != fingerprint:
            raise Rejected(
                f"key {name!r} of the connection is not the one of fingerprint {fingerprint} that people "
                f"were erased under: give the new key a name of its own, and to the old one its name: {cure}"
            )
        return found


def keys_of(spec: DatasetSpec, connections: Connections) -> Keys:
    """The keys in the connection that the dataset's policy names; raises Rejected for a weak one."""
    name = spec.privacy.key if spec.privacy else None
    if name is None:
        raise Rejected(f"{spec.name}.yaml: privacy.key is missing; name the Connection that holds the key")
    connection = connections(name)
    retired = connection.extra.get("secret_keys") or {}
    if not isinstance(retired, dict):
        raise Rejected(
            f'connection {name!r}: write retired keys into its extra as {{"secret_keys": {{name: key}}}}'
        )
    current = _key(name, connection.login or "k1", connection.password)
    others = [_key(name, old, secret) for old, secret in sorted(retired.items()) if old != current.name]
    if str(retired.get(current.name, connection.password)) != connection.password:
        raise Rejected(
            f"connection {name!r}: {current.name!r} names two keys, the password and a retired one; "
            "give the new key a name of its own as the login"
        )
    return Keys(current, tuple(others))


def _key(connection: str, name: str, secret: object) -> Key:
    if not _NAME.fullmatch(name):
        raise Rejected(
            f"connection {connection!r}: a key's name is up to 32 letters, digits and hyphens, such as k1; "
            "the current key's is the login"
        )
    found = secret.encode() if isinstance(secret, str) else b""
    if len(found) < _SHORTEST:
        raise Rejected(
            f"connection {connection!r}: key {name!r} is missing or shorter than {_SHORTEST} bytes; put a "
            "random one there, such as `openssl rand -hex 32` prints"
        )
    return Key(name, found)
