"""The errors of the lifecycle; each name answers "does a retry help?".

LifecycleError
├── Transient          the outside world hiccuped: retry
│   ├── Conflict       another writer came first: read again, decide again
│   └── InFlight       another training holds the lease: wait for it
└── Rejected           bad data, spec or model: a retry sees the same thing
    ├── SpecError      a YAML says something it must not
    └── Tampered       stored bytes are not the bytes that were written
"""

from __future__ import annotations


class LifecycleError(Exception):
    """Base of every error that is meant for the person who runs the lifecycle."""

    exit_code = 1
    """With which a process ends that runs one step."""


class Transient(LifecycleError):
    """The outside world hiccuped; the same call may succeed later."""

    exit_code = 75


class Conflict(Transient):
    """Another writer came first; read again and decide again."""


class InFlight(Transient):
    """Another training holds the lease."""


class Rejected(LifecycleError):
    """Bad data, spec or model; a retry would see the same thing."""


class SpecError(Rejected):
    """A spec file says something it must not; the message names file, key and cure."""


class Tampered(Rejected):
    """Stored bytes differ from the bytes that were written."""
