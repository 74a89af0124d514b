import pytest

from include.lifecycle.errors import SpecError
from include.lifecycle.spec.profile import open_profile
from tests.lifecycle.tiny import Project


def test_the_local_profile_is_the_default(project: Project) -> None:
    assert open_profile().memory == 1 << 30


def test_the_environment_names_the_profile(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.specs / "profiles/big.yaml").write_text("threads: 8")
    monkeypatch.setenv("PERENNIAL_PROFILE", "big")
    assert open_profile().threads == 8


def test_an_unknown_profile_is_a_spec_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERENNIAL_PROFILE", "nowhere")
    with pytest.raises(SpecError, match=r"nowhere.yaml: no such file"):
        open_profile()
