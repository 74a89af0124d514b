import time

import pynvml
import pytest

from include.lifecycle.errors import Rejected
from include.lifecycle.model.gpu import GpuWatch


def has_gpu() -> bool:
    """Whether this machine has one."""
    try:
        pynvml.nvmlInit()
        return bool(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return False


def test_the_watch_says_what_was_used_or_that_there_is_nothing_to_use() -> None:
    if not has_gpu():
        with pytest.raises(Rejected, match="a GPU was asked for and none is visible"), GpuWatch():
            raise AssertionError("the work must not begin")
        return
    with GpuWatch() as watch:
        time.sleep(1)
    assert watch.use.gpu_seconds >= 1
    assert 0 <= watch.use.busy <= 1
    assert watch.use.device
