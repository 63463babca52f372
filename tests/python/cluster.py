"""Clusters of a test's own: one process from `plazo up`, or the four services as a process each.

Everything of a cluster lives in one folder below /tmp and on ports of its own. When a cluster has
ended, no process may be left that has to do with the folder.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from plazo_client import Addresses, wait_until_serving

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
# The servers of a killed cluster notice by a closed pipe; so long they may take to go.
LEFTOVER_TIMEOUT_S = 10.0
SERVICES = ("ticketing", "timer", "notification", "history")
DATABASES = ("ticketing", "notification", "history")
# `plazo up --port P` serves the services on P to P+3 in this order, and the metrics of each so far
# above.
METRICS_PORT_OFFSET = 4_000


def program(name: str) -> Path:
    """A built program, beside the `plazo` command that PLAZO_BIN names."""
    path = Path(os.environ.get("PLAZO_BIN", "PLAZO_BIN/plazo")).with_name(name)
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(
            f"no program {path}: set PLAZO_BIN to the built `plazo` command, as `make test` does, "
            "and build all programs with `cargo build --workspace`"
        )
    return path


def free_ports() -> int:
    """The first port of a range for a cluster. Below the ports that systems give to outgoing
    connections, or one of those might take a port while a cluster is down."""
    for _ in range(200):
        base = random.randrange(10_000, 28_000, 10)
        ports = [base + index for index in range(len(SERVICES))]
        if all(_is_free(port) and _is_free(port + METRICS_PORT_OFFSET) for port in ports):
            return base
    raise OSError("found no free ports between 10000 and 32000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a connection that has just ended keeps no port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def processes_in(folder: Path) -> list[str]:
    """The processes that were started with a path in the folder, or work in it."""
    if Path("/proc/self/cmdline").exists():
        processes = [
            (entry.name, *_process(entry))
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit()
        ]
    else:
        listing = subprocess.run(
            ["ps", "-A", "-ww", "-o", "pid=,args="], check=True, capture_output=True, text=True
        )
        lines = (line.strip().partition(" ") for line in listing.stdout.splitlines())
        processes = [(pid, arguments, "") for pid, _, arguments in lines]
    return [
        f"{pid} {arguments}"
        for pid, arguments, working_folder in processes
        if str(folder) in arguments or str(folder) in working_folder
    ]


def _process(entry: Path) -> tuple[str, str]:
    """Arguments and working folder of a process; empty when it ends while they are read.
    PostgreSQL's processes rename themselves, and are known by where they work."""
    try:
        arguments = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return arguments, os.readlink(entry / "cwd")
    except OSError:
        return "", ""


class _Folder:
    """What both kinds of clusters share: a folder, ports, logs, and the check at the end."""

    def __init__(self) -> None:
        # Short, since sockets are in it; and open, since for root the servers run as another
        # account.
        self.folder = Path(tempfile.mkdtemp(prefix="plazo-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.base_port = free_ports()
        ports = {name: self.base_port + index for index, name in enumerate(SERVICES)}
        self.addresses = Addresses(**{name: f"127.0.0.1:{port}" for name, port in ports.items()})

    def spawn(
        self, name: str, arguments: list[str], environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a program of Plazo with its output in the folder. The terminal's Ctrl-C must not
        reach it before the test that it serves has ended, hence the session of its own."""
        path = program(name)
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def log_tail(self, name: str, lines: int = 30) -> str:
        """The last lines that a program wrote, for messages of failed tests."""
        text = (self.folder / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def wait_until_serving(
        self, process: subprocess.Popen[bytes], name: str, *addresses: str
    ) -> int:
        """Waits for a started program; the instant as of `plazo_client.wait_until_serving`."""
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while True:
            if process.poll() is not None:
                raise RuntimeError(
                    f"{name} ended with {process.returncode} while it started:\n"
                    f"{self.log_tail(name)}"
                )
            try:
                return wait_until_serving(addresses, 1.0)
            except TimeoutError as error:
                if time.monotonic() > give_up_at:
                    raise TimeoutError(f"{name}: {error}\n{self.log_tail(name)}") from error

    def end(self, process: subprocess.Popen[bytes], name: str) -> None:
        """Ends a program as an operator does, by SIGTERM. It must end by itself, and well."""
        if process.poll() is not None:
            raise AssertionError(
                f"{name} had ended with {process.returncode} before:\n{self.log_tail(name)}"
            )
        process.terminate()
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(
                f"{name} went on for {STOP_TIMEOUT_S} s after SIGTERM:\n{self.log_tail(name)}"
            ) from None
        if code != 0:
            raise AssertionError(f"{name} ended with {code}:\n{self.log_tail(name)}")

    def check_nothing_is_left(self, timeout_s: float) -> None:
        """Fails if processes go on after their cluster has ended."""
        give_up_at = time.monotonic() + timeout_s
        while left := processes_in(self.folder):
            if time.monotonic() > give_up_at:
                raise AssertionError("processes are left:\n" + "\n".join(left))
            time.sleep(0.05)

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Cluster(_Folder):
    """`plazo up`: one process with all services and its own servers. Data survive `kill` and
    `start`."""

    def __init__(self) -> None:
        super().__init__()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environment: dict[str, str] | None = None) -> int:
        """Starts it, perhaps with settings of services, and returns the instant at which all
        services served."""
        data = str(self.folder / "data")
        arguments = ["up", "--port", str(self.base_port), "--data", data]
        self._process = self.spawn("plazo", arguments, environment)
        return self.wait_until_serving(self._process, "plazo", *self.addresses.all())

    def token(self, *arguments: str) -> str:
        """A token that `plazo token` makes for this cluster."""
        command = [program("plazo"), "token", "--data", self.folder / "data", *arguments]
        ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
        return ended.stdout.strip()

    def kill(self) -> None:
        """Ends it as a power cut would, and waits until its servers have gone with it."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        self.check_nothing_is_left(LEFTOVER_TIMEOUT_S)

    def stop(self) -> None:
        """Ends it by SIGTERM, and fails if it ends badly or leaves a process."""
        process, self._process = self._process, None
        try:
            if process is not None:
                self.end(process, "plazo")
                # It has waited for its servers itself, so there is nothing to wait for.
                self.check_nothing_is_left(0.5)
        finally:
            self.remove()


class SeparateServices(_Folder):
    """The four services as four processes, on private servers."""

    def __init__(self) -> None:
        super().__init__()
        self._servers: subprocess.Popen[bytes] | None = None
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        self._environment: dict[str, str] = {}

    def start(self) -> None:
        """Starts the servers and all services."""
        self._servers = self.spawn("private-servers", [str(self.folder / "data")])
        urls = self._server_urls()
        for database in DATABASES:
            create_database(urls["DATABASE_URL"], database)
        self._environment = self._configuration(urls)
        for name in SERVICES:
            self._spawn_service(name)
        for name in SERVICES:
            self._wait_for_service(name)

    def start_service(self, name: str) -> int:
        """Starts one service, and returns the instant at which it served."""
        self._spawn_service(name)
        return self._wait_for_service(name)

    def kill_service(self, name: str) -> None:
        """Ends one service at once."""
        process = self._services.pop(name)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Ends everything by SIGTERM, those who call others first; fails as `Cluster.stop` does."""
        failures = []
        processes = [(f"plazo-{name}", process) for name, process in self._services.items()]
        if self._servers is not None:
            processes.append(("private-servers", self._servers))
        for name, process in processes:
            try:
                self.end(process, name)
            except AssertionError as failure:
                failures.append(str(failure))
        try:
            self.check_nothing_is_left(0.5)
        except AssertionError as failure:
            failures.append(str(failure))
        self.remove()
        if failures:
            raise AssertionError("\n".join(failures))

    def _server_urls(self) -> dict[str, str]:
        assert self._servers is not None
        give_up_at = time.monotonic() + START_TIMEOUT_S
        log = self.folder / "private-servers.log"
        # The process ids come last.
        while "REDIS_PID=" not in (text := log.read_text()):
            if self._servers.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"private-servers did not start:\n{text}")
            time.sleep(0.02)
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def _configuration(self, urls: dict[str, str]) -> dict[str, str]:
        """The environment of all services; each reads what bears its name."""
        environment = {"PLAZO_TIMER__REDIS__URL": urls["REDIS_URL"]}
        for index, name in enumerate(SERVICES):
            metrics = f"127.0.0.1:{self.base_port + index + METRICS_PORT_OFFSET}"
            environment[f"PLAZO_{name}__SERVER__LISTEN"] = getattr(self.addresses, name)
            environment[f"PLAZO_{name}__SERVER__METRICS_LISTEN"] = metrics
        for name in DATABASES:
            url = _database_url(urls["DATABASE_URL"], name)
            environment[f"PLAZO_{name}__DATABASE__URL"] = url
            environment[f"PLAZO_{name}__DATABASE__MIGRATE"] = "true"
        for caller, section, called in (
            ("ticketing", "timer", "timer"),
            ("timer", "handler", "ticketing"),
            ("timer", "notification", "notification"),
            ("notification", "ticketing", "ticketing"),
            ("history", "ticketing", "ticketing"),
        ):
            environment[f"PLAZO_{caller}__{section}__ENDPOINT"] = (
                f"http://{getattr(self.addresses, called)}"
            )
        return {key.upper(): value for key, value in environment.items()}

    def _spawn_service(self, name: str) -> None:
        self._services[name] = self.spawn(f"plazo-{name}", [], self._environment)

    def _wait_for_service(self, name: str) -> int:
        address = getattr(self.addresses, name)
        return self.wait_until_serving(self._services[name], f"plazo-{name}", address)


def _database_url(url: str, database: str) -> str:
    location, _, parameters = url.partition("?")
    return f"{location.rpartition('/')[0]}/{database}?{parameters}"


def create_database(url: str, database: str) -> None:
    """Makes a database on the server of a URL."""
    subprocess.run(
        [_psql(), "--no-psqlrc", "--quiet", url, "--command", f"CREATE DATABASE {database}"],
        check=True,
        capture_output=True,
    )


def _psql() -> str:
    """PostgreSQL's client, looked for where the services' own search looks."""
    folders = [Path(os.environ.get("PLAZO_PG_BIN", "/nonexistent"))]
    patterns = (
        "usr/lib/postgresql/*/bin",
        "usr/pgsql-*/bin",
        "opt/homebrew/opt/postgresql@*/bin",
    )
    for pattern in patterns:
        folders += sorted(Path("/").glob(pattern))
    found = shutil.which("psql") or next(
        (str(folder / "psql") for folder in folders if (folder / "psql").exists()), None
    )
    if found is None:
        raise FileNotFoundError("PostgreSQL's `psql` is missing: run `make setup-test`")
    return found
