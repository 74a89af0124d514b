from pathlib import Path

from include.serving.left_behind import take_over
from include.serving.prediction_log import owned
from include.serving.segments import Segments


def _log_of(homes: Path, server: str) -> Path:
    folder = homes / server / "prediction-log"
    folder.mkdir(parents=True)
    return folder


def test_what_a_server_left_behind_is_taken_over_once(tmp_path: Path) -> None:
    gone, ours = _log_of(tmp_path, "gone"), _log_of(tmp_path, "ours")
    Segments(gone / "late").append(b"{}\n{}\n", rows=2)
    assert take_over(tmp_path, ours) == 1
    assert Segments(ours / "late").backlog == 2
    assert take_over(tmp_path, ours) == 0


def test_a_server_that_lives_keeps_what_it_has(tmp_path: Path) -> None:
    ours = _log_of(tmp_path, "ours")
    with owned(tmp_path / "busy" / "prediction-log") as busy:
        Segments(busy / "late").append(b"{}\n", rows=1)
        assert take_over(tmp_path, ours) == 0
        assert Segments(busy / "late").backlog == 1
