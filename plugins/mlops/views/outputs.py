"""Serves the pages that steps left in the store: Great Expectations' and Evidently's."""

from __future__ import annotations

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Response

from include.lifecycle.errors import LifecycleError
from include.lifecycle.store.receipts import read_receipt
from mlops.hooks.store import StoreHook

PAGES = {"gx_page": "text/html", "report": "text/html"}
# A report is somebody else's HTML: it may run its own scripts, but not as the user.
_HEADERS = {"Content-Security-Policy": "sandbox allow-scripts", "X-Content-Type-Options": "nosniff"}

app = FastAPI(title="Perennial", docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/receipts/{run_key}/{output}", dependencies=[Depends(requires_access_dag("GET"))])
def read_output(run_key: str, output: str) -> Response:
    """A page that a receipt names; 404 when there is none."""
    if output not in PAGES or len(run_key) != 64 or not run_key.isalnum():
        raise HTTPException(404, f"no such page; there are {', '.join(PAGES)}")
    try:
        store = StoreHook().get_conn()
        content = store.read(read_receipt(run_key, store).outputs[output])
    except (LifecycleError, KeyError) as error:
        raise HTTPException(404, str(error)) from None
    return Response(content, media_type=PAGES[output], headers=_HEADERS)
