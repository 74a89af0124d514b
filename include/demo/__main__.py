"""``python -m include.demo`` starts the stack and replays the flights of 2013 until drift has led to a
better version, and a worse one was stopped on its way to users; then it keeps running until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from include.demo.airflow_api import AirflowApi, DagFailed, Seen
from include.demo.replay import DAGS, FIRST_LIVE_DAY, LAST_DAY, MODEL, Replay
from include.demo.specs import linked_specs
from include.demo.story import as_table, tell
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.store.objects import Store, open_store
from include.stack.errors import StackError
from include.stack.home import Settings
from include.stack.stack import Stack, running_stack


def arguments() -> argparse.Namespace:
    """What the user wants."""
    parser = argparse.ArgumentParser(prog="python -m include.demo", description=__doc__)
    parser.add_argument("--clean", action="store_true", help="forget what an earlier demo did")
    parser.add_argument("--go-on", action="store_true", help="go on where an earlier demo stopped")
    parser.add_argument("--days-after", type=_days, default=2, help="days to watch the new champion (2)")
    parser.add_argument("--exit", action="store_true", help="stop at the end, do not wait for Ctrl-C")
    return parser.parse_args()


def _days(text: str) -> int:
    """At least one: a candidate that knows no more than the champion is too old to replace it."""
    if (days := int(text)) < 1:
        raise argparse.ArgumentTypeError("watch the new champion for a day at least")
    return days


def main() -> int:
    """Exit code 0 at the end or on Ctrl-C, 1 with a message for what went wrong."""
    options, console = arguments(), Console()
    settings = Settings.from_environment(os.environ)
    if _wants_clean(options, settings, console):
        _forget(settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()

    progress = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
    )
    now = progress.add_task("starting", total=None)

    def say(text: str) -> None:
        progress.update(now, description=text, total=None)
        progress.console.print(f"{time.monotonic() - began:6.1f} s  {text}", markup=False, highlight=False)

    def seen(done: int, total: int) -> None:
        progress.update(now, description=f"{done} of {total} days ingested", completed=done, total=total)

    try:
        specs = linked_specs(open_catalog().root, settings.home / "specs")
        environ = {**os.environ, "PERENNIAL_SPECS": str(specs)}
        with progress, running_stack(settings, say, environ) as stack:
            _replay(stack, specs, options.days_after, say, seen)
            progress.stop()
            _epilogue(stack, console)
            if not options.exit:
                stack.wait()
    except KeyboardInterrupt:
        return 0
    except (DagFailed, StackError) as error:
        console.print(f"[red]{error}[/]", highlight=False)
        return 1
    return 0


def _replay(stack: Stack, specs: Path, days_after: int, say: Callable[[str], None], seen: Seen) -> None:
    os.environ.update({key: stack.env[key] for key in ("PERENNIAL_HOME", "PERENNIAL_STORE")})
    replay = Replay(
        AirflowApi(stack.airflow_url, stack.token),
        stack.server_url,
        open_store(),
        Store(stack.settings.landing),
        say,
        seen,
    )
    replay.airflow.wait_for_dags(DAGS)
    if replay.next_day() < FIRST_LIVE_DAY or replay.state().champion is None:
        replay.history()
    day, left = replay.next_day(), None
    while day <= LAST_DAY and left != 0:
        stack.check()
        promoted = replay.live(day)
        left = days_after if promoted else left and left - 1
        day += timedelta(days=1)
    if left == 0:
        replay.careless(specs, day)


def _epilogue(stack: Stack, console: Console) -> None:
    console.print(as_table(tell(MODEL, open_store())))
    console.print(
        f"\nAirflow       {stack.airflow_url}   (user {stack.user}, password {stack.password})\n"
        f"MLflow        {stack.mlflow_url}/#/models/{MODEL}\n"
        f"model server  {stack.server_url}/v2/models/{MODEL}, {stack.server_url}/metrics\n"
        "Ctrl-C stops everything; `make demo` goes on from here.",
        highlight=False,
    )


def _wants_clean(options: argparse.Namespace, settings: Settings, console: Console) -> bool:
    """Whether to forget an earlier demo: as the user says; going on is the default."""
    if options.clean or options.go_on or not settings.airflow.exists():
        return bool(options.clean)
    if not sys.stdin.isatty():
        console.print(f"going on with the demo in {settings.home}; --clean starts anew")
        return False
    answer = console.input(f"There is a demo in {settings.home}. Go on with it, or start clean? [g/c] ")
    return answer.strip().lower().startswith("c")


def _forget(settings: Settings) -> None:
    """Remove what a stack keeps below its home, and nothing else."""
    for folder in (
        settings.postgres,
        settings.airflow,
        settings.mlflow,
        settings.home / "landing",
        settings.logs,
        settings.home / "store",
        settings.home / "prediction-log",
        settings.home / "specs",
    ):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
