"""Is Airflow's database ready for this project, and if not, how is it made so?"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from include.stack import in_turn
from include.stack.airflow_settings import import_commands, read_airflow_settings
from include.stack.home import Settings


def preparation(settings: Settings) -> list[str] | None:
    """Return the command that brings Airflow's database up to date, None if it is.

    The database is migrated once per version of Airflow; airflow_settings.yaml is loaded once per
    content, so that what was changed in Airflow's UI stays until the file changes.
    Raises `BadAirflowSettings`.
    """
    wanted = read_airflow_settings(settings.airflow_settings)
    if _recorded(settings) == _due(settings):
        return None
    migrate = ["airflow", "db", "migrate"]
    return in_turn.command(migrate, *import_commands(wanted, settings.airflow))


def record_preparation(settings: Settings) -> None:
    """Remember that the database is up to date."""
    _record(settings).write_text(json.dumps(_due(settings)))


def _record(settings: Settings) -> Path:
    # Beside the data: whoever deletes the database deletes this with it.
    return settings.postgres / "prepared.json"


def _recorded(settings: Settings) -> dict[str, str] | None:
    file = _record(settings)
    recorded: dict[str, str] | None = json.loads(file.read_text()) if file.exists() else None
    return recorded


def _due(settings: Settings) -> dict[str, str]:
    file = settings.airflow_settings
    content = file.read_bytes() if file.exists() else b""
    return {
        "airflow": version("apache-airflow-core"),
        "airflow_settings": hashlib.sha256(content).hexdigest(),
    }
