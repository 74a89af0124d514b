import pytest

from include.lifecycle.release.document import ReleaseDocument
from include.lifecycle.release.release_map import with_document
from include.lifecycle.spec.value import canonical_json


def _text(document: ReleaseDocument) -> str:
    return canonical_json(document.model_dump(mode="json")).decode()


FIFTH, SIXTH = (ReleaseDocument(model="late", seq=seq) for seq in (5, 6))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({}, "the document of entry 6 replaces nothing"),
        ({"late": _text(FIFTH)}, "the document of entry 6 replaces entry 5"),
        ({"late": _text(SIXTH).replace("0.05", "0.5")}, "the document of entry 6 replaces entry 6"),
        ({"late": "{"}, "the document of entry 6 replaces an unreadable one"),
        ({"late": _text(ReleaseDocument(model="other", seq=7))}, "entry 6 replaces an unreadable one"),
    ],
)
def test_a_document_takes_the_place_of_an_older_or_changed_one(found: dict[str, str], why: str) -> None:
    others = {"early": _text(ReleaseDocument(model="early", seq=1))}
    change = with_document({**others, **found}, SIXTH)
    assert change.documents == {**others, "late": _text(SIXTH)}
    assert change.why.endswith(why)


@pytest.mark.parametrize("found", [SIXTH, ReleaseDocument(model="late", seq=7)])
def test_a_document_that_is_there_or_newer_stays(found: ReleaseDocument) -> None:
    assert with_document({"late": _text(found)}, SIXTH).documents is None
