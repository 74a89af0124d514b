"""A search in MLflow: a run, and nested in it a run for each trial; each once per run key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import mlflow
from mlflow.entities import Metric as LoggedMetric
from mlflow.entities import Param, Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from mlflow.utils.validation import MAX_METRICS_PER_BATCH

from include.lifecycle.model.registry import Registry
from include.lifecycle.model.study import Outcome
from include.lifecycle.spec.metrics import Metric
from include.lifecycle.spec.quantities import Instant
from include.lifecycle.spec.search import Parameters
from include.lifecycle.spec.value import Value, canonical_json

_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
"""MLflow's own storage for Optuna says the states of trials so."""


class LoggedTrial(Value):
    """What MLflow is told of a trial."""

    run_key: str
    parameters: Parameters
    outcome: Outcome
    started: Instant | None = None
    ended: Instant | None = None


class LoggedSearch(Value):
    """Where MLflow keeps a search."""

    run_id: str
    experiment_id: str


class SearchRuns(Registry):
    """The runs of searches on an MLflow server."""

    def log_search(
        self,
        model: str,
        run_key: str,
        metric: Metric,
        trials: Sequence[LoggedTrial],
        winner: LoggedTrial,
        tags: Mapping[str, str],
    ) -> LoggedSearch:
        """Log a search and its trials; what is logged already, with the same end, stays as it is."""
        with self._answering():
            experiment = mlflow.set_experiment(model).experiment_id
            parent = self._run(experiment, f"search {run_key[:12]}", {**tags, "run_key": run_key})
            if parent.data.tags.get("winner") != winner.run_key:
                self._tell_winner(parent.info.run_id, winner, metric)
            for number, trial in enumerate(trials):
                own = {MLFLOW_PARENT_RUN_ID: parent.info.run_id, "run_key": trial.run_key}
                run = self._run(experiment, f"trial {number}", own, trial.started)
                if run.info.status != (status := _STATUS[trial.outcome.state]):
                    self._end(run, status, trial, metric)
        return LoggedSearch(run_id=parent.info.run_id, experiment_id=experiment)

    def _run(
        self, experiment: str, name: str, tags: Mapping[str, str], started: datetime | None = None
    ) -> Run:
        """The run that carries these tags, new where there is none."""
        wanted = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
        if found := self._client.search_runs([experiment], wanted, max_results=1):
            return found[0]
        return self._client.create_run(experiment, _milliseconds(started), dict(tags), run_name=name)

    def _tell_winner(self, run_id: str, winner: LoggedTrial, metric: Metric) -> None:
        """The tag that says that it was told comes last. Another winner may come: tags can change."""
        self._client.set_terminated(run_id, "FINISHED")
        if winner.outcome.value is not None:
            self._client.log_metric(run_id, f"stop_{metric}", winner.outcome.value)
        self._client.set_tag(run_id, "parameters", canonical_json(winner.parameters).decode())
        self._client.set_tag(run_id, "winner", winner.run_key)

    def _end(self, run: Run, status: str, trial: LoggedTrial, metric: Metric) -> None:
        ended = _milliseconds(trial.ended)
        params = [Param(name, str(value)) for name, value in trial.parameters.items()]
        self._client.log_batch(run.info.run_id, params=params)
        metrics = _metrics(trial, metric, ended or 0)
        for first in range(0, len(metrics), MAX_METRICS_PER_BATCH):
            self._client.log_batch(run.info.run_id, metrics[first : first + MAX_METRICS_PER_BATCH])
        self._client.set_terminated(run.info.run_id, status, ended)


def _metrics(trial: LoggedTrial, metric: Metric, at: int) -> list[LoggedMetric]:
    """`stop_<metric>` and `trees` of the trial, and the metric after each segment by its trees."""
    outcome = trial.outcome
    single = {f"stop_{metric}": outcome.value, "trees": outcome.trees}
    return [
        *(LoggedMetric(name, value, at, 0) for name, value in single.items() if value is not None),
        *(
            LoggedMetric(f"{metric}_so_far", value, at, trees)
            for trees, value in outcome.intermediate.items()
        ),
    ]


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
