"""Workers that talk to each other: real processes, which each print what they know in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pandas as pd
import pytest
from xgboost.core import XGBoostError

from include.lifecycle.errors import Transient
from include.lifecycle.model.workers import Communicator, losing_no_worker
from include.lifecycle.store.meeting import Address, leave_address, read_address
from include.lifecycle.store.objects import Store

TALK = """
import json, os, sys
import pandas as pd
from include.lifecycle.model.workers import joined
from include.lifecycle.store.objects import Store

rank = int(os.environ["JOB_COMPLETION_INDEX"])
cities = [["BER", None], ["OSL", "BER"], ["MUC"]][rank]
table = pd.DataFrame({"city": pd.Series(cities, dtype=object), "stops": range(rank, rank + len(cities))})
with joined("a" * 64, Store(sys.argv[1]), 3) as workers:
    found = {
        "leads": workers.leads,
        "broadcast": (workers.broadcast(f"by {rank}".encode()) or b"").decode(),
        "nothing": workers.broadcast(None),
        "total": workers.total(rank, 10, 0.5),
        "rows": workers.gather(table).to_dict("list"),
        "categories": workers.categories({"city": sorted(filter(None, cities)), "stops": None}),
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What three workers know; the first comes last."""
    folder = str(tmp_path_factory.mktemp("store"))
    leave_address(
        "a" * 64, Address(host="127.0.0.1", tracker=9, lifeline=9), Store(folder)
    )  # where one was, who is no more
    processes = {}
    for rank in (2, 1, 0):
        env = {**os.environ, "JOB_COMPLETION_INDEX": str(rank), "PERENNIAL_ADDRESS": "127.0.0.1"}
        processes[rank] = subprocess.Popen(
            [sys.executable, "-c", TALK, folder], env=env, stdout=subprocess.PIPE, text=True
        )
    said = [processes[rank].communicate(timeout=120)[0] for rank in range(3)]
    assert [process.returncode for process in processes.values()] == [0, 0, 0]
    return [json.loads(text.splitlines()[-1]) for text in said]


def test_one_worker_leads_and_all_have_what_it_has(known: list[dict[str, Any]]) -> None:
    assert [worker["leads"] for worker in known] == [True, False, False]
    assert {worker["broadcast"] for worker in known} == {"by 0"}
    assert {worker["nothing"] for worker in known} == {None}


def test_numbers_and_rows_of_all_are_known_to_all_in_order_of_rank(known: list[dict[str, Any]]) -> None:
    rows = {"city": ["BER", None, "OSL", "BER", "MUC"], "stops": [0, 1, 1, 2, 2]}
    assert [worker["total"] for worker in known] == [[3, 30, 1.5]] * 3
    assert [worker["rows"] for worker in known] == [rows] * 3


def test_a_text_that_one_worker_has_is_known_to_all(known: list[dict[str, Any]]) -> None:
    assert [worker["categories"] for worker in known] == [{"city": ["BER", "MUC", "OSL"], "stops": None}] * 3
    assert [list(worker["categories"]) for worker in known] == [["city", "stops"]] * 3


def test_who_is_alone_asks_nobody() -> None:
    alone, rows = Communicator(), pd.DataFrame({"city": ["BER"]})
    assert alone.leads
    assert alone.gather(rows) is rows
    assert alone.categories({"city": ["BER"], "stops": None}) == {"city": ["BER"], "stops": None}
    assert alone.broadcast(b"state") == b"state"
    assert alone.total(1, 2.5) == [1, 2.5]


def test_only_what_the_collective_says_is_a_lost_worker() -> None:
    lost = (
        "[1:2] /src/collective/result.cc:83: [allreduce.cc:39]:\n\n- Ring failed.\n- EOF.\nStack trace:\n  x"
    )
    with pytest.raises(Transient, match=r"another worker was lost \(EOF\.\)"), losing_no_worker():
        raise XGBoostError(lost)
    with pytest.raises(XGBoostError), losing_no_worker():
        raise XGBoostError("[1:2] /src/objective/regression_obj.cu:1: label must be in [0,1]")


def test_the_newest_address_counts(store: Store) -> None:
    assert read_address("b" * 64, store) is None
    for host in ("10.0.0.1", "10.0.0.2"):
        leave_address("b" * 64, Address(host=host, tracker=1, lifeline=2), store)
    assert read_address("b" * 64, store) == Address(host="10.0.0.2", tracker=1, lifeline=2)
