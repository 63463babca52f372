"""A cluster on loopback: the pods of the rendered manifests as processes, each at an address of its
own, with the arguments, environment, ports, probes and ends that the manifests give them.

Names are those of the headless Services: a file stands for /etc/hosts in a mount namespace, and has
the addresses of the pods that are ready, as the cluster's DNS would."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from cluster import SeparateServices, program
from gateway import Files, wait_for
from manifests import Manifest, by_kind, named, rendered
from repository import DEPLOY, SERVICES, run

OVERLAY = "development"
READY_TIMEOUT_S = 120.0
# Each run has a network of its own among the loopback addresses: 127.NET.DEPLOYMENT.POD.
NETWORK = 2 + os.getpid() % 250
# The role that each key of a database's Secret logs in as.
LOGINS = {"url": "background", "request_url": "request", "migration_url": "owner"}
# Of the units of memory in manifests.
KIB = {"Mi": 1024, "Gi": 1024 * 1024}
HEALTH = "/grpc.health.v1.Health/Check"
# More than the names of all pods take.
HOSTS_LENGTH = 2048


class Stores(SeparateServices):
    """PostgreSQL and Redis alone."""

    def start(self) -> None:
        """Starts them."""
        self._servers = self.spawn("private-servers", [str(self.folder / "data")])
        self.urls = self._server_urls()


class Pod:
    """One replica."""

    def __init__(self, cluster: Pods, deployment: Manifest, address: str) -> None:
        self.address = address
        self._cluster = cluster
        spec = deployment["spec"]["template"]["spec"]
        (self._container,) = spec["containers"]
        self._grace_s: int = spec["terminationGracePeriodSeconds"]
        self.name: str = deployment["metadata"]["name"]
        self._folder = cluster.folder / f"{self.name}-{address}"
        self._folder.mkdir()
        self._mount(spec["volumes"])
        environment = {
            key: value
            for source in self._container.get("envFrom", [])
            for key, value in cluster.secrets.get(source["secretRef"]["name"], {}).items()
        }
        environment |= {each["name"]: cluster.value(self, each) for each in self._container["env"]}
        arguments = [self._placed(each) for each in self._container["args"]]
        path = program(Path(self._container["command"][0]).name)
        self.log = self._folder / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                in_namespace(cluster.hosts, [str(path), *arguments]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                # Nothing but what the manifest says.
                env=environment,
                start_new_session=True,
            )

    def _mount(self, volumes: list[dict[str, Any]]) -> None:
        """Writes what the volumes hold."""
        for volume in volumes:
            folder = self._folder / volume["name"]
            if volume["name"] == "config":
                folder.mkdir()
                manifest = named(rendered(OVERLAY), "ConfigMap", volume["configMap"]["name"])
                for name, text in manifest["data"].items():
                    (folder / name).write_text(self._placed(text))
            elif volume["name"] == "tls":
                folder.symlink_to(self._cluster.files.certificates / self.name)
            elif volume["name"] == "identity":
                folder.symlink_to(self._cluster.files.folder / "identity")
            else:
                raise AssertionError(f"the test does not know the volume {volume}")

    def _placed(self, text: str) -> str:
        """A text of the container with its paths and its address as they are here."""
        for mount in self._container["volumeMounts"]:
            text = text.replace(mount["mountPath"], str(self._folder / mount["name"]))
        return text.replace("0.0.0.0", self.address)

    @property
    def ports(self) -> list[dict[str, Any]]:
        """The ports of the container, as they stand in the manifest."""
        ports: list[dict[str, Any]] = self._container["ports"]
        return ports

    def port(self, name: str) -> int:
        """A port by its name."""
        (port,) = (each["containerPort"] for each in self.ports if each["name"] == name)
        return int(port)

    def probe(self, kind: str) -> bool:
        """Asks as the kubelet would."""
        asked = self._container[kind]["grpc"]
        service = asked["service"].encode()
        request = bytes([0x0A, len(service)]) + service
        with grpc.insecure_channel(f"{self.address}:{asked['port']}") as channel:
            try:
                answer = channel.unary_unary(HEALTH)(
                    request, timeout=self._container[kind].get("timeoutSeconds", 1)
                )
            except grpc.RpcError:
                return False
        return bool(answer == b"\x08\x01")

    def period_s(self, kind: str) -> float:
        """How often the kubelet asks."""
        return float(self._container[kind]["periodSeconds"])

    def allows_failures(self, kind: str, in_a_row: int) -> bool:
        """Whether the kubelet does nothing yet after so many failures of a probe."""
        return in_a_row < int(self._container[kind]["failureThreshold"])

    def is_ready(self) -> bool:
        """Started, alive and ready; fails when the process has ended."""
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended:\n{self.log.read_text()[-3000:]}")
        return all(map(self.probe, ("startupProbe", "livenessProbe", "readinessProbe")))

    def check_memory(self) -> None:
        """Fails if it ever took more memory than the kernel would have let it."""
        limit = self._container["resources"]["limits"]["memory"]
        (peak,) = (
            line.split()[1]
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            if line.startswith("VmHWM:")
        )
        if int(peak) > int(limit[:-2]) * KIB[limit[-2:]]:
            raise AssertionError(f"{self.name} took {peak} KiB, and may take {limit}")

    def end(self, pause_s: float | None = None) -> float:
        """Ends it as the kubelet would: preStop, SIGTERM, and no longer than the grace. Returns how
        long it drained, in seconds."""
        if pause_s is None:
            pause_s = self._container["lifecycle"]["preStop"]["sleep"]["seconds"]
        pause_over = time.monotonic() + pause_s
        wait_for("preStop is over", lambda: time.monotonic() >= pause_over, pause_s + 5)
        self.check_memory()
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=self._grace_s - pause_s)
        if code != 0:
            raise AssertionError(f"{self.name} ended with {code}:\n{self.log.read_text()[-3000:]}")
        return time.monotonic() - started


class Kubelet:
    """Asks a pod as its probes say, from when it is ready until it is told to go. Unlike the real
    one it does nothing when a probe fails as often as it may not, but tells."""

    def __init__(self, pod: Pod, problems: list[str]) -> None:
        self._pod = pod
        self._problems = problems
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._probe, args=(kind,))
            for kind in ("livenessProbe", "readinessProbe")
        ]
        for thread in self._threads:
            thread.start()

    def _probe(self, kind: str) -> None:
        in_a_row = 0
        while not self._ended.wait(self._pod.period_s(kind)):
            in_a_row = 0 if self._pod.probe(kind) else in_a_row + 1
            if not self._pod.allows_failures(kind, in_a_row):
                self._problems.append(f"{kind} of {self._pod.name} failed {in_a_row} times")

    def stop(self) -> None:
        """Asks no more."""
        self._ended.set()
        for thread in self._threads:
            thread.join()


class Pods:
    """All deployments of the overlay, and Envoy before them."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.folder = Path(tempfile.mkdtemp(prefix="plazo-pods-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.hosts = self.folder / "hosts"
        self.stores = Stores()
        self._lock = threading.Lock()
        self._next = dict.fromkeys(SERVICES, 1)
        self.ready: dict[str, list[Pod]] = {name: [] for name in SERVICES}
        # Secrets that a pod's environment is taken from as a whole, by their names.
        self.secrets: dict[str, dict[str, str]] = {}
        # Called with all pods that run, when one came or went.
        self.on_change: Callable[[list[Pod]], None] = lambda pods: None
        # Probes that failed as often as they may not.
        self.failed_probes: list[str] = []
        self._running: list[Pod] = []
        self._started: list[Pod] = []
        self._kubelets: dict[Pod, Kubelet] = {}

    def value(self, pod: Pod, variable: dict[str, Any]) -> str:
        """The value of a variable of the environment; Secrets are those of the private stores."""
        if "value" in variable:
            return str(variable["value"])
        source = variable["valueFrom"]
        if "fieldRef" in source:
            return pod.address
        return self._secret(source["secretKeyRef"])

    def _secret(self, reference: dict[str, Any]) -> str:
        """A key of a Secret, as deploy/README.md describes them: each of a database is a login."""
        if reference["name"] == "timer-redis":
            return str(self.stores.urls["REDIS_URL"])
        service = reference["name"].removesuffix("-database")
        login = f"plazo_{service}_{LOGINS[reference['key']]}"
        url = urllib.parse.urlsplit(str(self.stores.urls["DATABASE_URL"]))
        address = url.netloc.rpartition("@")[2]
        return url._replace(netloc=f"{login}@{address}", path=f"/{service}").geturl()

    def write_hosts(self) -> None:
        """Puts those that are ready under their names. In place, as the file is mounted; and in one
        write of always the same length, so that nobody finds it empty."""
        with self._lock:
            lines = ["127.0.0.1 localhost"]
            for name, pods in self.ready.items():
                lines += [f"{pod.address} {name}" for pod in pods]
            text = "\n".join(lines).ljust(HOSTS_LENGTH, "\n").encode()
            with self.hosts.open("r+b" if self.hosts.exists() else "xb", buffering=0) as file:
                file.write(text)

    def _note(self, pod: Pod, runs: bool) -> None:
        with self._lock:
            if runs:
                self._running.append(pod)
            else:
                self._running.remove(pod)
            self.on_change(list(self._running))

    def serving(self) -> list[Pod]:
        """All that may be called."""
        return [pod for pods in self.ready.values() for pod in list(pods)]

    def add(self, name: str) -> Pod:
        """Starts a replica more, and lets others know of it when it is ready."""
        address = f"127.{NETWORK}.{SERVICES.index(name) + 1}.{self._next[name]}"
        self._next[name] += 1
        pod = Pod(self, named(rendered(OVERLAY), "Deployment", name), address)
        self._started.append(pod)
        wait_for(f"{name} is ready", pod.is_ready, READY_TIMEOUT_S)
        self.ready[name].append(pod)
        self._kubelets[pod] = Kubelet(pod, self.failed_probes)
        self._note(pod, runs=True)
        self.write_hosts()
        return pod

    def replace(self, name: str) -> None:
        """Replaces all replicas of a deployment as a rolling update does: a new one is ready before
        an old one goes, and one after the other."""
        for leaving in list(self.ready[name]):
            self.add(name)
            self.ready[name].remove(leaving)
            self.write_hosts()
            self._kubelets.pop(leaving).stop()
            leaving.end()
            self._note(leaving, runs=False)

    def start(self) -> None:
        """Starts the stores, migrates, and starts all replicas."""
        self.write_hosts()
        self.stores.start()
        for job in by_kind(rendered(f"{OVERLAY}/migrate"), "Job"):
            self._migrate(job)
        deployments = by_kind(rendered(OVERLAY), "Deployment")
        for deployment in deployments:
            for _ in range(deployment["spec"]["replicas"]):
                self.add(deployment["metadata"]["name"])

    def _migrate(self, job: Manifest) -> None:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        service = job["metadata"]["name"].removeprefix("migrate-")
        run(
            *("psql", "--no-psqlrc", "--quiet"),
            *("-v", f"service={service}", "-v", f"database={service}"),
            *("-f", DEPLOY / "postgresql/roles.sql", str(self.stores.urls["DATABASE_URL"])),
        )
        subprocess.run(
            [program(Path(container["command"][0]).name), *container["args"]],
            env={
                each["name"]: self._secret(each["valueFrom"]["secretKeyRef"])
                for each in container["env"]
            },
            check=True,
            timeout=READY_TIMEOUT_S,
        )

    def stop(self) -> None:
        """Ends everything."""
        for kubelet in self._kubelets.values():
            kubelet.stop()
        for pod in self._started:
            # Does nothing to one that has ended.
            pod.process.terminate()
        for pod in self._started:
            pod.process.wait(timeout=60)
        self.stores.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def has_namespaces() -> bool:
    """Whether this machine lets the account have a mount namespace of its own."""
    try:
        return (
            subprocess.run(
                in_namespace(Path("/etc/hosts"), ["true"]), capture_output=True, check=False
            ).returncode
            == 0
        )
    except FileNotFoundError:
        return False


def in_namespace(hosts: Path, command: list[str]) -> list[str]:
    """The command with another /etc/hosts. It takes the place of the shell, and so of its id."""
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ["unshare", *rights, "--mount", "sh", "-ec", script, str(hosts), *command]
