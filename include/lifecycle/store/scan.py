"""DuckDB connections for scans: one clock (UTC) and bounded memory."""

from __future__ import annotations

import duckdb

from include.lifecycle.spec.profile import open_profile


def connect() -> duckdb.DuckDBPyConnection:
    """A DuckDB connection in UTC with the profile's limits on memory and threads."""
    profile = open_profile()
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    db.execute("SET enable_progress_bar = false")
    db.execute(f"SET memory_limit = '{profile.memory} bytes'")
    # DuckDB cannot count an Arrow dataset's rows beforehand, and would join a year by nested loops.
    db.execute("SET asof_loop_join_threshold = 0")
    db.execute(f"SET threads = {profile.threads}")
    return db
