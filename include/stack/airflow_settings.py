"""What does airflow_settings.yaml ask for? The format is that of the Astro CLI."""

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.stack.errors import BadAirflowSettings


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Connection(_Strict):
    """A connection; what is empty is left to Airflow's default."""

    conn_id: str = Field(min_length=1)
    conn_type: str = Field(min_length=1)
    conn_host: str | None = None
    conn_schema: str | None = None
    conn_login: str | None = None
    conn_password: str | None = None
    conn_port: int | None = None
    conn_extra: dict[str, Any] | str | None = None

    def for_airflow(self) -> dict[str, Any]:
        """Return the connection as `airflow connections import` reads it."""
        fields = self.model_dump(exclude={"conn_id", "conn_type"}, exclude_none=True)
        given = {name.removeprefix("conn_"): value for name, value in fields.items() if value != ""}
        return {"conn_type": self.conn_type, **given}


class Pool(_Strict):
    """A pool of slots."""

    pool_name: str = Field(min_length=1)
    pool_slot: int = Field(ge=-1)
    pool_description: str = ""
    pool_include_deferred: bool = False

    def for_airflow(self) -> dict[str, Any]:
        """Return the pool as `airflow pools import` reads it."""
        return {
            "slots": self.pool_slot,
            "description": self.pool_description,
            "include_deferred": self.pool_include_deferred,
        }


class Variable(_Strict):
    """A variable; its value is a text or something JSON can say."""

    variable_name: str = Field(min_length=1)
    variable_value: Any = ""


class AirflowSettings(_Strict):
    """All that one airflow_settings.yaml asks for. An empty section may be left empty."""

    connections: list[Connection] | None = None
    pools: list[Pool] | None = None
    variables: list[Variable] | None = None


class _File(_Strict):
    airflow: AirflowSettings


def read_airflow_settings(file: Path) -> AirflowSettings:
    """Return what `file` asks for; nothing where there is no such file.

    Raises `BadAirflowSettings`, which names the file and the key.
    """
    if not file.exists():
        return AirflowSettings()
    try:
        return _File.model_validate(yaml.safe_load(file.read_text())).airflow
    except yaml.YAMLError as error:
        raise BadAirflowSettings(f"{file} is not YAML: {error}") from error
    except ValidationError as error:
        faults = (
            f"{file}: {'.'.join(map(str, fault['loc'])) or 'top level'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise BadAirflowSettings("\n".join(faults)) from error


def import_commands(settings: AirflowSettings, folder: Path) -> list[list[str]]:
    """Write what `airflow` can import into `folder`; return the commands that import it.

    Importing again changes nothing, importing changed settings overwrites what was there.
    """
    commands = []
    if connections := {each.conn_id: each.for_airflow() for each in settings.connections or ()}:
        file = _written(folder / "connections.json", connections)
        commands.append(["airflow", "connections", "import", "--overwrite", file])
    if pools := {each.pool_name: each.for_airflow() for each in settings.pools or ()}:
        file = _written(folder / "pools.json", pools)
        commands.append(["airflow", "pools", "import", file])
    if variables := {each.variable_name: each.variable_value for each in settings.variables or ()}:
        file = _written(folder / "variables.json", variables)
        commands.append(["airflow", "variables", "import", file])
    return commands


def _written(file: Path, content: object) -> str:
    file.touch(mode=0o600)
    file.write_text(json.dumps(content))
    return str(file)
