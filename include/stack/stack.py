"""How does the whole stack start, and end?"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from include.stack import components, health, postgres
from include.stack.environment import environment, password_file
from include.stack.errors import NotHealthy, PreparationFailed
from include.stack.home import Settings, locked
from include.stack.keys import USER, secrets_of, write_passwords
from include.stack.ports import HOST, Ports, reserved_ports
from include.stack.preparation import preparation, record_preparation
from include.stack.processes import Component, Group, running, tail

_HEALTHY_WITHIN = 180.0
_PAUSE = 0.2


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A running stack: where it listens, how to log in, and whether it still runs."""

    settings: Settings
    ports: Ports
    env: Mapping[str, str] = field(repr=False)
    password: str = field(repr=False)
    groups: list[Group] = field(default_factory=list, repr=False)
    user: str = USER

    @property
    def airflow_url(self) -> str:
        """Airflow's UI and REST API."""
        return f"http://{HOST}:{self.ports.airflow}"

    @property
    def mlflow_url(self) -> str:
        """MLflow's UI and tracking server."""
        return f"http://{self.settings.mlflow_host}:{self.ports.mlflow}"

    @property
    def server_url(self) -> str:
        """The model server."""
        return f"http://{HOST}:{self.ports.server}"

    def token(self, user: str = USER) -> str:
        """Return a user's bearer token for Airflow's REST API, valid for a day."""
        passwords = json.loads(password_file(self.settings).read_text())
        login = {"username": user, "password": passwords[user]}
        answer = httpx.post(f"{self.airflow_url}/auth/token", json=login, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def check(self) -> None:
        """Raise `ComponentDied` if a component has ended."""
        for group in self.groups:
            group.check()

    def wait(self) -> None:
        """Wait until a component ends: raises `ComponentDied` then."""
        while True:
            self.check()
            time.sleep(0.5)


@contextmanager
def running_stack(
    settings: Settings | None = None,
    say: Callable[[str], None] = print,
    environ: Mapping[str, str] = os.environ,
    airflow: Callable[[], list[Component]] = components.airflow,
) -> Iterator[Stack]:
    """Start everything, yield it healthy, and end all of it on leaving.

    `say` is told what happens, a line at a time. `environ` is what the components inherit. `airflow`
    says how Airflow's components are run.
    Raises a `StackError` whose message says what to do.
    """
    settings = settings or Settings.from_environment(environ)
    with ExitStack() as exits:
        lock = exits.enter_context(locked(settings.home, say))
        ports = exits.enter_context(reserved_ports(environ, say))
        stack = _prepared(settings, ports, environ)
        start = _Start(stack, airflow, lock, say, exits)
        start.everything()
        exits.callback(say, "stopping everything")
        yield stack


def _prepared(settings: Settings, ports: Ports, environ: Mapping[str, str]) -> Stack:
    settings.make_folders()
    secrets = secrets_of(settings.airflow)
    write_passwords(password_file(settings), secrets.password)
    env = environment(settings, ports, secrets, environ)
    return Stack(settings=settings, ports=ports, env=env, password=secrets.password)


@dataclass(frozen=True)
class _Start:
    """One start of a stack; its groups end with `exits`, the last started first."""

    stack: Stack
    airflow: Callable[[], list[Component]]
    lock: int
    say: Callable[[str], None]
    exits: ExitStack
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    def everything(self) -> None:
        settings, ports = self.stack.settings, self.stack.ports
        sockets = postgres.socket_folder(settings.home)
        postgres.end_leftover(settings.postgres / "data")
        self._run("database", components.database(settings))
        self._await(["postgres"], lambda: postgres.healthy(sockets))
        postgres.ensure_databases(sockets)
        self._run("services", components.services(settings, ports))
        self._prepare()
        self._run("airflow", self.airflow())
        with httpx.Client(timeout=2) as client:
            urls = self.stack.airflow_url, self.stack.mlflow_url, self.stack.server_url
            self._await(health.COMPONENTS, lambda: health.healthy(client, *urls, self.since))

    def _run(self, name: str, group: list[Component]) -> None:
        settings = self.stack.settings
        started = running(
            name,
            group,
            env=self.stack.env,
            logs=settings.logs,
            cwd=settings.airflow,
            lock=self.lock,
        )
        self.stack.groups.append(self.exits.enter_context(started))

    def _prepare(self) -> None:
        """Bring Airflow's database up to date."""
        settings = self.stack.settings
        command = preparation(settings)
        if command is None:
            return
        log = settings.logs / "preparation.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                env=dict(self.stack.env),
                cwd=settings.airflow,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                while process.poll() is None:
                    self.stack.check()
                    time.sleep(0.05)
            finally:
                process.kill()
        if process.returncode != 0:
            raise PreparationFailed(f"airflow's database: the end of {log}:\n{tail(log)}")
        record_preparation(settings)
        self.say("airflow's database is up to date")

    def _await(self, names: Iterable[str], healthy: Callable[[], set[str]]) -> None:
        """Wait until all are healthy, watching that none dies meanwhile."""
        waiting = set(names)
        deadline = time.monotonic() + _HEALTHY_WITHIN
        while waiting:
            self.stack.check()
            for name in sorted(waiting & healthy()):
                self.say(f"{name} is ready")
                waiting.remove(name)
            if time.monotonic() > deadline:
                raise NotHealthy(
                    f"not healthy after {_HEALTHY_WITHIN:.0f} s: {', '.join(sorted(waiting))}; "
                    f"see {self.stack.settings.logs}"
                )
            time.sleep(_PAUSE)
