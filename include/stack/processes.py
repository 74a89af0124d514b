"""How do components run, and end, together?"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from include.stack.errors import ComponentDied
from include.stack.supervise import end_sessions

_TAIL = 20
_STOP_WITHIN = 20.0


@dataclass(frozen=True, kw_only=True)
class Component:
    """One long-running program of the stack."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Components that run under one supervisor: one ends, all end."""

    name: str
    logs: Path
    supervisor: "subprocess.Popen[bytes]"

    @property
    def log(self) -> Path:
        """What the supervisor did: which component it started, as which process, which ended."""
        return self.logs / f"{self.name}.supervisor.log"

    def check(self) -> None:
        """Raise `ComponentDied` if the group has ended."""
        if self.supervisor.poll() is None:
            return
        ended = re.search(r"\| (\S+) stopped \(rc=(-?\d+)\)", self.log.read_text())
        if ended is None:
            raise ComponentDied(f"the supervisor of {self.name} ended: see {self.log}")
        name, status = ended.groups()
        raise ComponentDied(
            f"{name} ended with status {status}, so everything was stopped. "
            f"The end of {self.logs / name}.log:\n{tail(self.logs / f'{name}.log')}"
        )

    def stop(self) -> None:
        """End all components and wait until nothing of them is left."""
        assert self.supervisor.stdin is not None
        self.supervisor.stdin.close()
        try:
            self.supervisor.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()
            self.supervisor.wait()
        end_sessions(self.log)


@contextmanager
def running(
    name: str,
    components: Sequence[Component],
    *,
    env: Mapping[str, str],
    logs: Path,
    cwd: Path,
    lock: int | None = None,
) -> Iterator[Group]:
    """Run `components` as one group; stop them all on leaving.

    Each writes to `<logs>/<component>.log`; the log of the run before is kept as `.log.1`.
    `lock` is a descriptor that the supervisor shall hold as long as it lives.
    """
    commands = {each.name: _shell_command(each, logs) for each in components}
    spec = {"log": str(logs / f"{name}.supervisor.log"), "commands": commands}
    (logs / f"{name}.supervisor.log").write_text("")
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "include.stack.supervise", json.dumps(spec)],
        stdin=subprocess.PIPE,
        env=dict(env),
        cwd=cwd,
        # Ctrl-C is for the runner alone, which then stops the groups in their order.
        start_new_session=True,
        pass_fds=[] if lock is None else [lock],
    )
    group = Group(name=name, logs=logs, supervisor=supervisor)
    try:
        yield group
    finally:
        group.stop()


def tail(log: Path, lines: int = _TAIL) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _shell_command(component: Component, logs: Path) -> str:
    # The shell gives way to the program, so the program gets the signals; and its output goes
    # straight to the file, so nobody waits for a pipe that a stray child keeps open.
    log = logs / f"{component.name}.log"
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    return f"exec {shlex.join(component.command)} > {shlex.quote(str(log))} 2>&1"
