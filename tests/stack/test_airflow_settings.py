import json
from pathlib import Path

import pytest

from include.stack.airflow_settings import import_commands, read_airflow_settings
from include.stack.errors import BadAirflowSettings
from include.stack.home import PROJECT_ROOT


def _written(folder: Path, text: str) -> Path:
    file = folder / "airflow_settings.yaml"
    file.write_text(text)
    return file


def test_the_projects_own_settings_can_be_imported(tmp_path: Path) -> None:
    settings = read_airflow_settings(PROJECT_ROOT / "airflow_settings.yaml")
    assert [command[:3] for command in import_commands(settings, tmp_path)] == [
        ["airflow", "connections", "import"],
        ["airflow", "pools", "import"],
    ]
    connections = json.loads((tmp_path / "connections.json").read_text())
    assert connections["perennial_store"] == {"conn_type": "generic"}
    assert connections["perennial_mlflow"]["port"] == 5000
    pools = json.loads((tmp_path / "pools.json").read_text())
    assert (pools["gpu"]["slots"], pools["gpu"]["include_deferred"]) == (1, True)


def test_passwords_written_for_airflow_are_for_the_owner_only(tmp_path: Path) -> None:
    text = "airflow: {connections: [{conn_id: a, conn_type: http, conn_password: secret}]}"
    import_commands(read_airflow_settings(_written(tmp_path, text)), tmp_path)
    assert (tmp_path / "connections.json").stat().st_mode & 0o077 == 0


def test_nothing_is_asked_for_where_there_is_no_file(tmp_path: Path) -> None:
    settings = read_airflow_settings(tmp_path / "airflow_settings.yaml")
    assert import_commands(settings, tmp_path) == []


def test_sections_may_be_left_empty_as_the_template_of_astro_does(tmp_path: Path) -> None:
    text = "airflow:\n  connections:\n  pools:\n  variables:\n"
    settings = read_airflow_settings(_written(tmp_path, text))
    assert import_commands(settings, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "airflow: {pools: [{pool_name: gpu, pool_slots: 1}]}",
            "airflow.pools.0.pool_slots: Extra",
        ),
        ("airflow: {pools: [{pool_name: gpu}]}", "airflow.pools.0.pool_slot: Field required"),
        (
            "airflow: {connections: [{conn_id: a}]}",
            "airflow.connections.0.conn_type: Field required",
        ),
        (
            "airflow: {connections: [{conn_id: a, conn_type: b, conn_port: x}]}",
            "0.conn_port: Input",
        ),
        ("airflo: {}", "airflo: Extra"),
        ("airflow: [", "is not YAML"),
        ("", "top level"),
    ],
)
def test_an_error_names_the_file_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    file = _written(tmp_path, text)
    with pytest.raises(BadAirflowSettings) as raised:
        read_airflow_settings(file)
    assert str(file) in str(raised.value)
    assert message in str(raised.value)
