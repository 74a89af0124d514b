"""Which keys and which password protect the local stack?"""

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

USER = "admin"


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _signing_key() -> str:
    return secrets.token_urlsafe(64)


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """Made once per home, since what they encrypt and sign lies in that home's database."""

    fernet_key: str = field(default_factory=_fernet_key, repr=False)
    jwt_secret: str = field(default_factory=_signing_key, repr=False)
    session_key: str = field(default_factory=_signing_key, repr=False)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(9), repr=False)


def secrets_of(airflow_home: Path) -> Secrets:
    """Return the secrets kept in `airflow_home`, made now if it has none."""
    kept = airflow_home / "secrets.json"
    if not kept.exists():
        _write_private(kept, asdict(Secrets()))
    return Secrets(**json.loads(kept.read_text()))


def write_passwords(file: Path, password: str) -> None:
    """Write the password file that Airflow's SimpleAuthManager reads, and adds other users' to."""
    others = json.loads(file.read_text()) if file.exists() else {}
    _write_private(file, {**others, USER: password})


def _write_private(file: Path, content: dict[str, str]) -> None:
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(content, out)
    new.replace(file)
