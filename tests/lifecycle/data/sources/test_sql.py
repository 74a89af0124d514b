from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from include.lifecycle.data.staging import stage
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.store.scan import connect
from tests.lifecycle.data.sources.reading import dataset, opened, rows_of
from tests.servers import PASSWORD, Database, only

QUERY = "SELECT city, at, rain FROM sky WHERE at >= %(start)s AND at < %(end)s ORDER BY at"


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with Database() as database:
        database.do(
            "CREATE TABLE sky (city text, at timestamptz, rain numeric)",
            """INSERT INTO sky VALUES
            ('BER', '2023-12-31T23:59:59.999999Z', 0),
            ('BER', '2024-01-01T00:00:00Z', 1.50),
            ('MUC', '2024-01-01T23:59:59.999999Z', NULL),
            ('BER', '2024-01-02T00:00:00Z', 9)""",
            "CREATE TABLE years AS SELECT 'c' || i AS city, '2024-01-01'::timestamptz AS at, i AS rain "
            "FROM generate_series(1, 30000) AS i",
            "CREATE TABLE days AS SELECT local, local AT TIME ZONE 'Europe/Berlin' AS at, local::date AS day "
            "FROM unnest('{2023-12-31 23:59:59.999999, 2024-01-01 00:00, 2024-01-01 23:59:59.999999, "
            "2024-01-02 00:00}'::timestamp[]) AS local",
            "CREATE ROLE poor LOGIN",
        )
        yield database


def sql(query: str = QUERY, **more: object) -> DatasetSpec:
    return dataset({"type": "sql", "connection": "shop", "query": query}, **more)


def test_the_bounds_of_the_partition_are_bound_and_values_keep_their_text(database: Database) -> None:
    assert rows_of(sql(), database.connection()) == [
        {"city": "BER", "at": "2024-01-01 00:00:00+00", "rain": "1.50"},
        {"city": "MUC", "at": "2024-01-01 23:59:59.999999+00", "rain": None},
    ]


def test_a_day_of_a_place_begins_at_its_midnight(database: Database) -> None:
    found = rows_of(sql(timezone="Europe/Berlin"), database.connection())
    assert [row["at"] for row in found] == ["2024-01-01 00:59:59.999999+01", "2024-01-01 01:00:00+01"]


@pytest.mark.parametrize("column", ["at", "local", "day"])
@pytest.mark.parametrize("cast", ["", "::timestamptz", "::timestamp", "::date"])
def test_dates_and_timestamps_are_compared_in_the_zone_of_the_dataset(
    database: Database, column: str, cast: str
) -> None:
    bounded = f"{column} >= %(start)s{cast} AND {column} < %(end)s{cast}"
    query = f"SELECT local FROM days WHERE {bounded} ORDER BY local"
    found = rows_of(sql(query, timezone="Europe/Berlin"), database.connection())
    assert [row["local"] for row in found] == ["2024-01-01 00:00:00", "2024-01-01 23:59:59.999999"]


def test_the_server_binds_the_bounds_and_holds_the_cursor(database: Database) -> None:
    before = len(database.log.read_text())
    database.do("ALTER ROLE postgres SET log_statement = 'all'")
    rows_of(sql(), database.connection())
    database.do("ALTER ROLE postgres RESET log_statement")
    said = database.log.read_text()[before:]
    assert "BEGIN READ ONLY" in said
    assert 'DECLARE "perennial" CURSOR FOR SELECT' in said
    assert said.count("WHERE at >= $1 AND at < $2") == 2
    bounds = [line for line in said.splitlines() if "2024-01-01" in line]
    assert len(bounds) == 2
    assert all("$1 = '2024-01-01 00:00:00+00', $2 = '2024-01-02 00:00:00+00'" in line for line in bounds)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
def test_a_timestamp_comes_back_from_staging_as_the_same_instant(
    database: Database, tmp_path: Path, zone: str
) -> None:
    spec = sql(
        "SELECT 'BER' AS city, '2024-01-01T10:00:00.123456Z'::timestamptz AS at, 0.1::float8 AS rain "
        "WHERE %(start)s < %(end)s",
        timezone=zone,
    )
    stage(spec, opened(spec, only(database.connection())).batches(), tmp_path / "staged")
    with connect() as db:
        found = db.sql(
            f"SELECT \"at\"::TIMESTAMPTZ, rain::DOUBLE FROM read_parquet('{tmp_path}/staged')"
        ).fetchall()
    assert found == [(datetime(2024, 1, 1, 10, 0, 0, 123456, UTC), 0.1)]


def test_per_cent_signs_quotes_and_a_semicolon_are_no_obstacle(database: Database) -> None:
    query = 'SELECT \'a%%\' AS "100%%", \'it\'\'s\' AS "of ""all""" WHERE %(start)s < %(end)s -- really\n;'
    assert rows_of(sql(query), database.connection()) == [{"100%": "a%", 'of "all"': "it's"}]


@pytest.mark.parametrize(
    "query",
    [
        "-- The sky, it's wide.\n/* 100 %% */ SELECT city FROM sky WHERE at >= %(start)s AND at < %(end)s",
        "WITH late AS (SELECT * FROM sky WHERE at >= %(start)s) SELECT city FROM late WHERE at < %(end)s;\n",
        "SELECT city FROM sky WHERE (at < %(end)s AND at >= %(start)s) IS TRUE AND %(end)s > %(start)s",
        "SELECT city FROM sky WHERE city LIKE '%%' AND at BETWEEN %(start)s AND %(end)s - interval '1 us'",
        "VALUES ('BER', %(start)s), ('MUC', %(end)s)",
    ],
)
def test_a_query_may_have_any_form_of_select(database: Database, query: str) -> None:
    found = rows_of(sql(query), database.connection())
    assert [next(iter(row.values())) for row in found] == ["BER", "MUC"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT * FROM sky", r"query must use %\(start\)s and %\(end\)s, the partition's bounds"),
        ("SELECT * FROM sky WHERE at < '%(end)s' AND at >= %(start)s", "without quotes: PostgreSQL binds"),
    ],
)
def test_a_query_that_does_not_bind_the_partition_is_refused(query: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        sql(query)


def test_many_rows_come_in_small_batches(database: Database) -> None:
    query = "SELECT * FROM years WHERE at >= %(start)s AND at < %(end)s"
    batches = list(opened(sql(query), only(database.connection())).batches())
    assert sum(batch.num_rows for batch in batches) == 30_000
    assert max(batch.num_rows for batch in batches) <= 5_000


def test_no_rows_still_show_the_columns(database: Database) -> None:
    (batch,) = opened(sql(), only(database.connection()), "2030-01-01").batches()
    assert (batch.num_rows, batch.schema.names) == (0, ["city", "at", "rain"])


def test_a_query_cannot_write(database: Database) -> None:
    writing = (
        "WITH gone AS (DELETE FROM sky WHERE at >= %(start)s AND at < %(end)s RETURNING *) SELECT * FROM gone"
    )
    with pytest.raises(Rejected):
        rows_of(sql(writing), database.connection())
    with pytest.raises(Rejected, match="read-only transaction"):
        rows_of(sql("SELECT lo_create(0) AS c WHERE %(start)s < %(end)s"), database.connection())
    assert len(rows_of(sql(), database.connection())) == 2


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT town FROM sky WHERE at >= %(start)s AND at < %(end)s", 'column "town" does not exist'),
        ("SELEKT 1 WHERE %(start)s < %(end)s", "syntax error"),
        ("SELECT 1/(at - at) FROM sky WHERE at < %(end)s AND %(start)s IS NOT NULL", "does not exist"),
        ("SELECT city, city FROM sky WHERE %(start)s < %(end)s", 'column reference "city" is ambiguous'),
        ("SELECT 1 / (rain - 9) AS c FROM sky WHERE %(start)s < %(end)s", "division by zero"),
        ("SELECT 1) AS one; SELECT (%(start)s, %(end)s", "cannot insert multiple commands"),
        ("SELECT 1 WHERE 'a' LIKE 'a%' AND %(start)s < %(end)s", "allowed as placeholders"),
        ("SELECT 1 WHERE %(start)s < %(end)s AND %(beginning)s", "parameter missing: beginning"),
    ],
)
def test_a_query_that_postgresql_refuses_is_rejected_with_its_reason(
    database: Database, query: str, reason: str
) -> None:
    with pytest.raises(Rejected, match=r"PostgreSQL refuses source\.query") as caught:
        rows_of(sql(query), database.connection())
    assert reason in str(caught.value)
    assert "mend the query" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_user_without_rights_is_rejected(database: Database) -> None:
    with pytest.raises(Rejected, match=r"permission denied for table sky.*user's rights"):
        rows_of(sql(), database.connection("poor"))


def test_a_user_who_is_not_there_is_rejected_and_the_password_never_shown(database: Database) -> None:
    with pytest.raises(Rejected, match=r"refused .*Admin, Connections") as caught:
        rows_of(sql(), database.connection("ghost"))
    assert PASSWORD not in str(caught.value)


def test_a_database_that_is_down_is_transient() -> None:
    with Database() as database:
        gone = database.connection()
    with pytest.raises(Transient, match=r"no answer .*retry when it is back"):
        rows_of(sql(), gone)


def test_another_kind_of_database_is_rejected(database: Database) -> None:
    from dataclasses import replace

    with pytest.raises(Rejected, match="is of type 'mysql'; a sql source reads PostgreSQL alone"):
        rows_of(sql(), replace(database.connection(), conn_type="mysql"))


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT city::integer AS c FROM sky", "invalid text representation, SQLSTATE 22P02"),
        ("SELECT (city || '-13')::timestamptz AS c FROM sky", "invalid datetime format, SQLSTATE 22007"),
        ("SELECT shout(city) AS c FROM sky", "raise exception, SQLSTATE P0001"),
        ("SELECT shout(city, '22ZZZ') AS c FROM sky", "data error, SQLSTATE 22ZZZ"),
    ],
)
def test_an_error_does_not_quote_a_value_of_the_rows(database: Database, query: str, reason: str) -> None:
    database.do(
        "CREATE OR REPLACE FUNCTION shout(what text, code text DEFAULT 'P0001') RETURNS text "
        "LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no %', what USING ERRCODE = code; END $$"
    )
    with pytest.raises(Rejected) as caught:
        rows_of(sql(f"{query} WHERE at >= %(start)s AND at < %(end)s"), database.connection())
    assert f"PostgreSQL refuses source.query ({reason})" in str(caught.value)
    assert "BER" not in str(caught.value)
    assert "MUC" not in str(caught.value)
