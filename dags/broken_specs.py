"""Shows every broken spec as an import error in Airflow, and leaves all other DAGs working.

Airflow keeps one import error for each file; were it raised in datasets.py or models.py, all of
their DAGs would stop.
"""

from __future__ import annotations

from include.lifecycle.errors import SpecError
from include.lifecycle.spec.catalog import open_catalog

if mistakes := open_catalog().mistakes():
    raise SpecError("\n".join(str(mistake) for mistake in mistakes))
