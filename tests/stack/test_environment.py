import base64
import json
from pathlib import Path

from include.stack.environment import environment
from include.stack.home import Settings
from include.stack.keys import Secrets, secrets_of, write_passwords
from include.stack.ports import Ports

PORTS = Ports(airflow=18080, mlflow=15000, server=18000)


def _environment(home: Path, caller: dict[str, str]) -> dict[str, str]:
    return environment(Settings.at(home), PORTS, Secrets(), caller)


def test_components_find_each_other_on_the_ports_of_this_stack(tmp_path: Path) -> None:
    env = _environment(tmp_path, {})
    assert env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:18080/execution/"
    assert env["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:15000"
    server = {"conn_type": "http", "schema": "http", "host": "127.0.0.1", "port": 18000}
    assert json.loads(env["AIRFLOW_CONN_PERENNIAL_SERVER"]) == server


def test_mlflow_is_asked_where_it_listens(tmp_path: Path) -> None:
    settings = Settings.at(tmp_path, mlflow_host="10.0.0.7")
    env = environment(settings, PORTS, Secrets(), {})
    assert env["MLFLOW_TRACKING_URI"] == "http://10.0.0.7:15000"
    assert json.loads(env["AIRFLOW_CONN_PERENNIAL_MLFLOW"])["host"] == "10.0.0.7"
    assert json.loads(env["AIRFLOW_CONN_PERENNIAL_SERVER"])["host"] == "127.0.0.1"


def test_credentials_of_the_caller_pass_through(tmp_path: Path) -> None:
    assert _environment(tmp_path, {"AWS_PROFILE": "me"})["AWS_PROFILE"] == "me"


def test_colleagues_may_log_in_beside_our_own_user_and_keep_their_passwords(tmp_path: Path) -> None:
    users = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"
    assert _environment(tmp_path, {})[users] == "admin:admin"
    assert _environment(tmp_path, {users: "ann:user"})[users] == "admin:admin,ann:user"
    file = tmp_path / "passwords.json"
    file.write_text('{"ann": "hers", "admin": "old"}')
    write_passwords(file, "new")
    assert json.loads(file.read_text()) == {"ann": "hers", "admin": "new"}


def test_the_stores_connection_is_left_to_the_database(tmp_path: Path) -> None:
    assert "AIRFLOW_CONN_PERENNIAL_STORE" not in _environment(tmp_path, {})


def test_bytecode_is_written_even_if_the_caller_wants_none(tmp_path: Path) -> None:
    caller = {"PYTHONDONTWRITEBYTECODE": "1"}
    assert "PYTHONDONTWRITEBYTECODE" not in _environment(tmp_path, caller)


def test_no_component_reports_to_its_makers(tmp_path: Path) -> None:
    env = _environment(tmp_path, {"DO_NOT_TRACK": "0"})
    assert env["DO_NOT_TRACK"] == "1"
    assert env["GX_ANALYTICS_ENABLED"] == "false"
    assert env["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_pickle_is_refused(tmp_path: Path) -> None:
    assert _environment(tmp_path, {})["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_two_homes_share_no_database_and_no_state(tmp_path: Path) -> None:
    one, other = (_environment(tmp_path / name, {}) for name in ("one", "other"))
    for name in ("AIRFLOW_HOME", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "PERENNIAL_STORE"):
        assert one[name] != other[name]


def test_secrets_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    made = secrets_of(tmp_path)
    assert secrets_of(tmp_path) == made
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0
    assert len(base64.urlsafe_b64decode(made.fernet_key)) == 32


def test_secrets_do_not_show_in_a_message() -> None:
    secrets = Secrets()
    assert not any(secret in repr(secrets) for secret in vars(secrets).values())
