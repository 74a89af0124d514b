import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from include.stack.errors import ComponentDied
from include.stack.home import PROJECT_ROOT
from include.stack.processes import Component, Group, running
from tests.stack.waiting import eventually, gone

# Like Airflow's scheduler: a child in a process group of its own, and a deaf one in that.
PARENT = """
import os, signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf], process_group=0)
print("child", child.pid, flush=True)
time.sleep(600)
"""
RUNNER = """
import sys, time
from pathlib import Path
from tests.stack.test_processes import family
with family(Path(sys.argv[1])) as group:
    print("up", flush=True)
    time.sleep(600)
"""
ENV = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}


def family(logs: Path, *others: Component) -> AbstractContextManager[Group]:
    parent = Component(name="parent", command=[sys.executable, "-c", PARENT])
    return running("test", [parent, *others], env=ENV, logs=logs, cwd=logs)


def child_of(logs: Path) -> psutil.Process:
    log = logs / "parent.log"
    eventually(lambda: log.exists() and "\n" in log.read_text())
    return psutil.Process(int(log.read_text().split()[1]))


def ended(group: Group) -> bool:
    return group.supervisor.poll() is not None


def test_leaving_ends_children_and_grandchildren_that_ignore_sigterm(tmp_path: Path) -> None:
    with family(tmp_path) as group:
        child = child_of(tmp_path)
        group.check()
    assert gone(child)


def test_one_dies_all_stop_and_the_message_names_it_and_shows_its_log(tmp_path: Path) -> None:
    talkative = "print(*range(100), sep='\\n'); import time; time.sleep(2); raise SystemExit(7)"
    dying = Component(name="dying", command=[sys.executable, "-c", talkative])
    with family(tmp_path, dying) as group:
        child = child_of(tmp_path)
        eventually(lambda: ended(group))
        with pytest.raises(ComponentDied, match="dying ended with status 7") as raised:
            group.check()
        assert "\n80\n" in str(raised.value)
        assert "\n79\n" not in str(raised.value)
        assert gone(child)


def test_a_program_that_is_not_there_is_a_death_like_any_other(tmp_path: Path) -> None:
    with family(tmp_path, Component(name="absent", command=["/no/such/program"])) as group:
        eventually(lambda: ended(group))
        with pytest.raises(ComponentDied, match="absent ended with status 127"):
            group.check()


def test_a_killed_supervisor_leaves_nothing_behind(tmp_path: Path) -> None:
    with family(tmp_path) as group:
        child = child_of(tmp_path)
        group.supervisor.kill()
        eventually(lambda: ended(group))
        with pytest.raises(ComponentDied, match="the supervisor of test ended"):
            group.check()
    assert gone(child)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_runner_leaves_nothing_behind(tmp_path: Path, how: signal.Signals) -> None:
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path)],
        env=ENV,
        stdout=subprocess.PIPE,
    )
    with runner:
        child = child_of(tmp_path)
        family_ = [child, *psutil.Process(runner.pid).children(recursive=True)]
        runner.send_signal(how)
    assert psutil.wait_procs(family_, timeout=30)[1] == []


def test_the_log_of_the_run_before_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "say.log"
    for word in ("first", "second"):
        say = Component(name="say", command=["sh", "-c", f"echo {word}; sleep 600"])
        with running("test", [say], env=ENV, logs=tmp_path, cwd=tmp_path):
            eventually(lambda: log.exists() and log.read_text() != "")
    assert log.read_text() == "second\n"
    assert (tmp_path / "say.log.1").read_text() == "first\n"
