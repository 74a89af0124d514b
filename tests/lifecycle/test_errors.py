import pytest

from include.lifecycle import errors
from include.lifecycle.errors import LifecycleError, Rejected, Transient


@pytest.mark.parametrize(
    ("name", "retry"),
    [
        ("Transient", True),
        ("Conflict", True),
        ("InFlight", True),
        ("Rejected", False),
        ("SpecError", False),
        ("Tampered", False),
    ],
)
def test_every_error_says_whether_a_retry_helps(name: str, retry: bool) -> None:
    error = getattr(errors, name)
    assert issubclass(error, LifecycleError)
    assert issubclass(error, Transient) == retry
    assert issubclass(error, Rejected) != retry
