"""What all tests share: a test that would be skipped fails where skipping is forbidden."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """With PERENNIAL_NO_SKIP, as in continuous integration, nothing may be skipped unseen."""
    report = yield
    if report.skipped and os.environ.get("PERENNIAL_NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though PERENNIAL_NO_SKIP is set: {report.longrepr}"
    return report
