from pathlib import Path

import pytest

from include.stack.errors import HomeInUse
from include.stack.home import PROJECT_ROOT, Settings, locked


def test_state_lies_in_the_project_unless_told_otherwise() -> None:
    settings = Settings.from_environment({})
    assert settings.home == PROJECT_ROOT / ".perennial"
    assert settings.store == str(PROJECT_ROOT / ".perennial" / "store")
    assert settings.dags == PROJECT_ROOT / "dags"


def test_home_and_store_are_what_the_environment_says() -> None:
    environ = {"PERENNIAL_HOME": "/srv/p", "PERENNIAL_STORE": "s3://bucket/prefix"}
    settings = Settings.from_environment(environ)
    assert (settings.home, settings.store) == (Path("/srv/p"), "s3://bucket/prefix")
    assert (settings.landing, settings.mlflow_host) == ("/srv/p/landing", "127.0.0.1")


def test_files_may_land_in_a_bucket_and_mlflow_may_listen_where_pods_reach_it() -> None:
    environ = {"PERENNIAL_LANDING": "s3://bucket/landing", "PERENNIAL_MLFLOW_HOST": "10.0.0.7"}
    settings = Settings.from_environment(environ)
    assert (settings.landing, settings.mlflow_host) == ("s3://bucket/landing", "10.0.0.7")


def test_a_store_in_a_bucket_makes_no_folder(tmp_path: Path) -> None:
    settings = Settings.at(tmp_path / "home", store="s3://bucket/prefix", landing="s3://bucket/landing")
    settings.make_folders()
    names = {folder.name for folder in (tmp_path / "home").iterdir()}
    assert names == {"postgres", "airflow", "mlflow", "logs"}


def test_a_home_serves_one_stack_at_a_time(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(HomeInUse, match=str(tmp_path)),
        locked(tmp_path, patience=0),
    ):
        pass
    with locked(tmp_path, patience=0):
        pass
