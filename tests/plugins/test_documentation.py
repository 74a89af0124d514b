from mlops.documentation import (
    describe_dataset,
    describe_monitor,
    describe_release,
    describe_reproduce,
    describe_train,
)

from tests.lifecycle.tiny import MODEL, Project


def test_a_dataset_is_described_by_its_columns_and_rules(project: Project) -> None:
    text = describe_dataset(project.catalog.dataset("trips"))
    assert "| delay | number | 1d later |" in text
    assert "| city | string | at once |" in text
    assert "`expect_column_values_to_be_between` column distance, min_value 1, max_value 1000" in text
    assert "50% of them stop the partition" in text


def test_a_dataset_says_which_run_of_a_backfill_is_which_partition(project: Project) -> None:
    spec = project.catalog.dataset("trips")
    assert "it makes a run for each day that begins between them" in describe_dataset(spec)
    berlin = describe_dataset(spec.model_copy(update={"timezone": "Europe/Berlin"}))
    assert "the run dated 2023-12-31 23:00 UTC is 2024-01-01" in berlin


def test_a_model_is_described_by_its_schedule_gates_and_governor(project: Project) -> None:
    model = project.catalog.model(MODEL)
    train = describe_train(model)
    assert "auc: at least 0.6" in train
    assert "brier: worse by at most 0.05" in train
    assert "20d old" in train
    assert "2 times in 30d" in train
    assert "2 bad windows of the last 3" in describe_monitor(model)
    assert MODEL in describe_release(model)
    assert "include.lifecycle reproduce late VERSION" in describe_reproduce(model)


def test_a_model_that_never_ages_is_described_so(project: Project) -> None:
    project.edit("models/late.yaml", "max_age: 20d", "max_age: null")
    assert "is never old" in describe_train(project.catalog.model(MODEL))
