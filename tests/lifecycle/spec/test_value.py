import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from include.lifecycle.spec.value import Value, canonical_json, sha256

documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda children: st.lists(children) | st.dictionaries(st.text(st.characters(codec="utf-8")), children),
    max_leaves=8,
)


class Point(Value):
    x: int


def test_a_value_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Point(x=1).x = 2  # type: ignore[misc]


def test_a_value_knows_no_other_keys_than_its_own() -> None:
    with pytest.raises(ValidationError):
        Point(x=1, y=2)  # type: ignore[call-arg]


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), documents))
def test_the_order_of_keys_does_not_change_the_text(document: dict[str, object]) -> None:
    turned = dict(reversed(document.items()))
    assert canonical_json(turned) == canonical_json(document)


def test_numbers_that_json_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": float("nan")})


def test_the_hash_is_sha256() -> None:
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
