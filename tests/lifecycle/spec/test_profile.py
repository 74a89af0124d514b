import pytest
import yaml
from pydantic import ValidationError

from include.lifecycle.errors import SpecError
from include.lifecycle.spec.compute import Compute
from include.lifecycle.spec.model import ModelSpec, Training
from include.lifecycle.spec.profile import Kubernetes, on_threads, open_profile
from tests.lifecycle import tiny
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


def test_a_pod_is_told_its_limits_by_its_environment(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERENNIAL_THREADS", "6")
    monkeypatch.setenv("PERENNIAL_MEMORY", str(8 << 30))
    assert (open_profile().threads, open_profile().memory) == (6, 8 << 30)


def test_a_block_has_the_threads_that_it_names_whatever_the_environment_says(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERENNIAL_THREADS", "6")
    with on_threads(2):
        assert (open_profile().threads, open_profile().memory) == (2, 1 << 30)
        with on_threads(3):
            assert open_profile().threads == 3
        assert open_profile().threads == 2
    assert open_profile().threads == 6


def test_the_profile_says_whether_steps_run_as_pods(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_profile().kubernetes is None
    (project.specs / "profiles/cluster.yaml").write_text("kubernetes: {namespace: ml}\n")
    monkeypatch.setenv("PERENNIAL_PROFILE", "cluster")
    assert open_profile().kubernetes == Kubernetes(namespace="ml")


@pytest.mark.parametrize(
    ("prices", "error"),
    [
        ("{currency: euro, cpu_hour: 1, memory_gib_hour: 1, gpu_hour: 1}", "prices.currency"),
        ("{currency: EUR, cpu_hour: -1, memory_gib_hour: 1, gpu_hour: 1}", "prices.cpu_hour"),
        ("{currency: EUR, cpu_hour: 1, memory_gib_hour: .inf, gpu_hour: 1}", "prices.memory_gib_hour"),
        ("{currency: EUR, cpu_hour: 1, memory_gib_hour: 1}", "prices.gpu_hour"),
    ],
)
def test_prices_are_all_given_and_none_is_negative(project: Project, prices: str, error: str) -> None:
    (project.specs / "profiles/local.yaml").write_text(f"prices: {prices}\n")
    with pytest.raises(SpecError, match=error):
        open_profile()


def test_an_image_that_the_profile_does_not_have_is_named_with_those_it_has() -> None:
    with pytest.raises(SpecError, match=r"no image 'cuda' in the profile's kubernetes.images \(trainer\)"):
        Kubernetes().image("cuda")


@pytest.mark.parametrize(
    ("text", "size"), [("512Mi", 512 << 20), ("16Gi", 16 << 30), ("4GiB", 4 << 30), ("2G", 2_000_000_000)]
)
def test_sizes_are_written_as_in_kubernetes(text: str, size: int) -> None:
    assert Compute.model_validate({"memory": text}).memory == size


def test_the_device_is_a_matter_of_compute() -> None:
    with pytest.raises(ValidationError, match=r"parameters.device: .*compute: \{train: \{gpu: 1\}\}"):
        Training(parameters={"device": "cuda"})


def test_only_a_training_is_done_by_several_workers(project: Project) -> None:
    project.edit("models/late.yaml", "training:", "compute: {train: {workers: 3}}\ntraining:")
    assert project.catalog.model(tiny.MODEL).compute["train"].workers == 3
    project.edit("models/late.yaml", "{train: {workers: 3}}", "{evaluate: {workers: 2}}")
    with pytest.raises(SpecError, match=r"late\.yaml.*evaluate\.workers: only `train` is done by several"):
        project.catalog.model(tiny.MODEL)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("external_memory: true", "take out external_memory, or workers"),
        ("estimator: sklearn.linear_model.LogisticRegression", "learns on one machine's CPU; remove workers"),
    ],
)
def test_workers_share_what_xgboost_learns_in_memory(key: str, said: str) -> None:
    training: dict[str, object] = yaml.safe_load(key)
    about = {"name": "late", "description": "Late?", "rows": "trips", "inputs": ["city"]}
    label = {"column": "delay", "at_least": 1}
    with pytest.raises(ValidationError, match=said):
        ModelSpec.model_validate(
            {**about, "label": label, "training": training, "compute": {"train": {"workers": 2}}}
        )


def test_a_receiver_is_told_of_everything_unless_it_names_events(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    slack = "{kind: slack, connection: team}"
    _write(
        project, monkeypatch, f"notify: [{slack}, {{kind: webhook, connection: other, events: [aborted]}}]"
    )
    everything, one = open_profile().notify
    assert everything.events == ("aborted", "rolled_back", "circuit_opened", "partition_stopped")
    assert one.events == ("aborted",)


@pytest.mark.parametrize(
    ("receiver", "words"),
    [
        ("{kind: pigeon, connection: team}", "pigeon"),
        ("{kind: slack}", "connection"),
        ("{kind: mail, connection: team, to: []}", "to"),
        ("{kind: slack, connection: team, events: [lunch]}", "events"),
        ("{kind: slack, connection: team, password: secret}", "password"),
    ],
)
def test_a_receiver_that_cannot_be_told_is_a_spec_error(
    project: Project, monkeypatch: pytest.MonkeyPatch, receiver: str, words: str
) -> None:
    _write(project, monkeypatch, f"notify: [{receiver}]")
    with pytest.raises(SpecError, match=words):
        open_profile()


def _write(project: Project, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (project.specs / "profiles/told.yaml").write_text(text)
    monkeypatch.setenv("PERENNIAL_PROFILE", "told")
