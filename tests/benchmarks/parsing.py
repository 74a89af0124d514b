"""How long does Airflow need to parse a thousand models, and what does that add to each task's start?

`python -m tests.benchmarks.parsing` generates 1,000 models (YAML and features file) in a temporary
folder. The DAG processor parses all DAG files; each task parses the file of its own DAG again, with
its `dag_id` in the parsing context, in a process forked from one that has imported everything.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.figures import Figure, at_most, print_figures

ROOT = Path(__file__).resolve().parents[2]
DAGS, INCLUDE = ROOT / "dags", ROOT / "include"
MODELS, EXAMPLE = 1_000, "flight_delay"
TASK = (f"{EXAMPLE}.train", "train")
FORKS = 7
MAX_PARSE_SECONDS, MAX_ADDED_SECONDS = 15, 0.1


def main() -> None:
    """Measure, and print the figures."""
    print_figures(run())


def run() -> list[Figure]:
    """Measure in two fresh processes; returns the figures."""
    with TemporaryDirectory(prefix="perennial-parsing-") as name:
        folder = Path(name)
        for models in (1, MODELS):
            write_specs(folder / str(models), models)
        whole, cold = _fresh(folder, "whole")
        parts, _ = _fresh(folder, "parts")
    print(f"parsing {MODELS:,} models: {whole['dags']:,.0f} DAGs, {whole['tasks']:,.0f} tasks")
    print(f"{'fresh process, imports included':56} {cold:8.2f} s")
    for file in ("all files", *sorted(path.name for path in DAGS.glob("*.py"))):
        print(f"{f'after imports: {file}':56} {parts[file]:8.2f} s")
    one, many = parts["task, 1"], parts[f"task, {MODELS}"]
    print(f"{'start of one task, 1 model':56} {one * 1000:8.1f} ms")
    print(f"{f'start of one task, {MODELS:,} models':56} {many * 1000:8.1f} ms")
    return [
        at_most(f"parsing: {MODELS:,} models, imports included", MAX_PARSE_SECONDS, cold, ".2f", " s"),
        at_most(
            f"parsing: added to a task's start by {MODELS:,} models",
            MAX_ADDED_SECONDS,
            many - one,
            ".3f",
            " s",
        ),
    ]


def write_specs(folder: Path, models: int) -> None:
    """The example's datasets and profiles, and its model under as many names."""
    for name in ("datasets", "profiles"):
        shutil.copytree(INCLUDE / name, folder / name)
    (folder / "models").mkdir()
    for number in range(models):
        name = EXAMPLE if number == 0 else f"{EXAMPLE}_{number:04}"
        for kind in ("yaml", "py"):
            shutil.copyfile(INCLUDE / f"models/{EXAMPLE}.{kind}", folder / f"models/{name}.{kind}")


def _fresh(folder: Path, what: str) -> tuple[dict[str, float], float]:
    """What a fresh process printed, and how long it took from start to end."""
    settings = {
        "PERENNIAL_SPECS": str(folder / str(MODELS)),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "PYTHONPATH": str(ROOT),
    }
    started = time.perf_counter()
    child = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.parsing", what, str(folder)],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(child.stdout.splitlines()[-1]), time.perf_counter() - started


def whole() -> dict[str, float]:
    """Parse everything, as a DAG processor that just started."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(DAGS)
    if bag.import_errors:
        raise RuntimeError(bag.import_errors)
    return {"dags": len(bag.dags), "tasks": sum(len(dag.tasks) for dag in bag.dags.values())}


def parts(folder: Path) -> dict[str, float]:
    """Seconds of each parse after all imports, each in a fork of its own: nothing is cached in it."""
    # Parsing the project's own specs imports what parsing needs; it caches no spec of the folders.
    os.environ["PERENNIAL_SPECS"] = str(INCLUDE)
    whole()
    found = {"all files": _in_fork(partial(_whole_from, folder, MODELS))}
    for file in sorted(DAGS.glob("*.py")):
        found[file.name] = _in_fork(partial(_file, folder, MODELS, file))
    for models in (1, MODELS):
        times = [_in_fork(partial(_task, folder, models)) for _ in range(FORKS)]
        found[f"task, {models}"] = statistics.median(times)
    return found


def _whole_from(folder: Path, models: int) -> None:
    """Parse everything with the specs of a folder."""
    os.environ["PERENNIAL_SPECS"] = str(folder / str(models))
    whole()


def _file(folder: Path, models: int, file: Path) -> None:
    """Parse one file, as the DAG processor does."""
    from airflow.dag_processing.dagbag import BundleDagBag

    os.environ["PERENNIAL_SPECS"] = str(folder / str(models))
    BundleDagBag(file, safe_mode=False, load_op_links=False, bundle_path=DAGS, bundle_name="dags")


def _task(folder: Path, models: int) -> None:
    """Parse the file of one task's DAG, as Airflow's task runner does."""
    from airflow.sdk.definitions._internal.dag_parsing_context import _airflow_parsing_context_manager

    with _airflow_parsing_context_manager(*TASK):
        _file(folder, models, DAGS / "models.py")


def _in_fork(work: Callable[[], None]) -> float:
    """Seconds that some work takes in a fork of this process."""
    global _work
    _work = work
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return pool.submit(_timed).result()


def _timed() -> float:
    started = time.perf_counter()
    _work()
    return time.perf_counter() - started


def _nothing() -> None:
    """No work yet."""


_work: Callable[[], None] = _nothing

if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "whole":
        print(json.dumps(whole()))
    else:
        print(json.dumps(parts(Path(sys.argv[2]))))
