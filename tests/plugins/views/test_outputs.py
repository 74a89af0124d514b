import pytest
from fastapi import HTTPException
from fastapi.routing import APIRoute
from mlops.views.outputs import app, read_output

from include.lifecycle.store.objects import object_path
from include.lifecycle.store.receipts import Call, Receipt, write_receipt
from tests.lifecycle.tiny import Project, midnight


@pytest.fixture
def run_key(project: Project) -> str:
    page = project.store.keep(b"<html>report</html>")
    call = Call(step="measure", spec={}, as_of=midnight(1), code="c")
    receipt = Receipt(call=call, outputs={"report": page, "good": page}, started=midnight(1))
    return write_receipt(receipt, project.store).run_key


def test_a_page_is_served_so_that_its_scripts_cannot_act_as_the_user(run_key: str) -> None:
    reply = read_output(run_key, "report")
    assert reply.body == b"<html>report</html>"
    assert reply.headers["content-security-policy"] == "sandbox allow-scripts"
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("key", "output"),
    [
        (None, "good"),
        (None, "gx_page"),
        ("0" * 64, "report"),
        ("../../etc/passwd", "report"),
        ("short", "report"),
    ],
)
def test_anything_but_a_page_of_a_receipt_is_not_found(run_key: str, key: str | None, output: str) -> None:
    with pytest.raises(HTTPException) as caught:
        read_output(key or run_key, output)
    assert caught.value.status_code == 404


def test_a_changed_page_is_not_served(project: Project, run_key: str) -> None:
    digest = project.store.keep(b"<html>report</html>").sha256
    project.store.replace(object_path(digest), b"<html>forged</html>")
    with pytest.raises(HTTPException):
        read_output(run_key, "report")


def test_every_page_asks_who_is_asking() -> None:
    pages = [route for route in app.routes if isinstance(route, APIRoute)]
    assert pages
    assert all(route.dependencies for route in pages)
