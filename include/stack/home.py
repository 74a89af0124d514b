"""Where does the local state lie?"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from include.stack.errors import HomeInUse
from include.stack.ports import HOST

PROJECT_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a stack runs from and where it keeps its state."""

    root: Path = PROJECT_ROOT
    home: Path = PROJECT_ROOT / ".perennial"
    store: str = str(PROJECT_ROOT / ".perennial" / "store")
    landing: str = str(PROJECT_ROOT / ".perennial" / "landing")
    """Where raw files land before they are staged: a folder, or the URI of a bucket."""
    mlflow_host: str = HOST
    """The address at which MLflow listens: pods must reach it when they register versions."""
    dags: Path = PROJECT_ROOT / "dags"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Return the settings that `PERENNIAL_HOME`, `PERENNIAL_STORE`, ... ask for."""
        home = Path(environ.get("PERENNIAL_HOME") or PROJECT_ROOT / ".perennial")
        return cls.at(
            home,
            store=environ.get("PERENNIAL_STORE"),
            landing=environ.get("PERENNIAL_LANDING"),
            mlflow_host=environ.get("PERENNIAL_MLFLOW_HOST"),
        )

    @classmethod
    def at(
        cls,
        home: Path,
        *,
        store: str | None = None,
        landing: str | None = None,
        mlflow_host: str | None = None,
        dags: Path | None = None,
    ) -> "Settings":
        """Return the settings of a stack whose state lies in `home`, but for what is told otherwise."""
        home = home.expanduser().absolute()
        return cls(
            home=home,
            store=store or str(home / "store"),
            landing=landing or str(home / "landing"),
            mlflow_host=mlflow_host or cls.mlflow_host,
            dags=dags or cls.dags,
        )

    @property
    def postgres(self) -> Path:
        """The folder of the embedded PostgreSQL."""
        return self.home / "postgres"

    @property
    def airflow(self) -> Path:
        """Airflow's own home: its secrets, its task logs."""
        return self.home / "airflow"

    @property
    def mlflow(self) -> Path:
        """The artefacts that `mlflow server` keeps."""
        return self.home / "mlflow"

    @property
    def logs(self) -> Path:
        """One log file per component."""
        return self.home / "logs"

    @property
    def airflow_settings(self) -> Path:
        """The connections, pools and variables of the project."""
        return self.root / "airflow_settings.yaml"

    def make_folders(self) -> None:
        """Create the folders that are not there yet."""
        places = (Path(place) for place in (self.store, self.landing) if "://" not in place)
        for folder in (self.postgres, self.airflow, self.mlflow, self.logs, *places):
            folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def locked(home: Path, say: Callable[[str], None] = print, *, patience: float = 20.0) -> Iterator[int]:
    """Hold `home` for one stack and yield the lock's file descriptor.

    Whoever inherits the descriptor holds the lock too, so that the next stack waits until the
    remains of one that was killed have ended. Raises `HomeInUse` after `patience` seconds.
    """
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _lock(descriptor):
            say(f"waiting for another stack on {home} to end")
            deadline = time.monotonic() + patience
            while not _lock(descriptor):
                if time.monotonic() > deadline:
                    raise HomeInUse(f"another stack runs on {home}: stop it, or set PERENNIAL_HOME")
                time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
