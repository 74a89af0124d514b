"""How often, and when, does Airflow try a task again that may succeed later?"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

RETRYING: dict[str, Any] = {
    "retries": 10,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 2,
    "max_retry_delay": timedelta(minutes=5),
}
"""About half an hour in all: a node that is lost, or a store that restarts, is back by then, and nodes that
are taken away again and again, as cheap ones are, do not use up a task's tries. What a retry would not help
is not tried again (`Rejected`)."""
