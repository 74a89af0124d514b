import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.lifecycle.store.scratch import remove_abandoned_folders, scratch_folder

BUSY = """
import sys
from include.lifecycle.store.scratch import scratch_folder
with scratch_folder("train") as folder:
    (folder / "rows").write_bytes(b"rows")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for scratch of its own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def busy() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process at work in a scratch folder, which looks old."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    folder = Path(process.stdout.readline().strip())
    _age(folder)
    yield process, folder
    process.kill()
    process.wait()


def _age(folder: Path) -> None:
    then = time.time() - 3600
    os.utime(folder, (then, then))


def test_the_folder_of_a_process_that_lives_stays_however_old_it_is(
    busy: tuple[subprocess.Popen[str], Path],
) -> None:
    assert remove_abandoned_folders() == []
    assert (busy[1] / "rows").read_bytes() == b"rows"


def test_the_folder_of_a_process_that_was_killed_goes(busy: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = busy
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert remove_abandoned_folders() == [folder.name]
    assert not folder.exists()
    assert remove_abandoned_folders() == []


def test_a_folder_that_may_not_be_locked_yet_stays(temporary: Path) -> None:
    (temporary / "perennial-scratch-train-new").mkdir()
    assert remove_abandoned_folders() == []


def test_other_peoples_folders_and_links_stay(temporary: Path) -> None:
    (temporary / "perennial-ports-0").mkdir()
    (temporary / "perennial-scratch-link").symlink_to(temporary / "perennial-ports-0")
    _age(temporary / "perennial-ports-0")
    assert remove_abandoned_folders() == []
    assert (temporary / "perennial-ports-0").is_dir()


def test_a_folder_goes_with_its_work_and_may_be_gone_before() -> None:
    with scratch_folder("train") as folder:
        assert folder.is_dir()
    assert not folder.exists()
    with scratch_folder("train") as folder:
        shutil.rmtree(folder)
