from include.lifecycle.store.scan import connect
from tests.lifecycle.tiny import Project


def test_scans_run_in_utc_within_the_profiles_limits(project: Project) -> None:
    with connect() as db:
        settings = dict(
            db.execute(
                "SELECT name, value FROM duckdb_settings() "
                "WHERE name IN ('TimeZone', 'memory_limit', 'threads')"
            ).fetchall()
        )
    assert settings == {"TimeZone": "UTC", "memory_limit": "1.0 GiB", "threads": "1"}
