"""The real Envoy with the configuration of deploy/gateway, on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import yaml

from cluster import free_ports
from repository import DEPLOY, SERVICES, run, tool
from tokens import Issuer, key_set

START_TIMEOUT_S = 30.0
WAIT_S = 20.0
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
HEALTH_SERVING = b"\x08\x01"
Endpoint = tuple[str, int]
Call = tuple[str, dict[str, str]]


def wait_for(what: str, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """Waits until a condition holds, with a bound."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.02)


class Files:
    """A folder with certificates, keys of tokens, and what Envoy is told about both."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="plazo-gateway-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.certificates = self.folder / "certificates"
        self.renew()
        self.write_keys(Issuer())

    def renew(self, *names: str) -> None:
        """Makes certificates anew, all or those of these names, by the authority that signs, and
        lets them trust it."""
        run(DEPLOY / "certificates.sh", self.certificates, *names)

    def renew_leaves(self) -> None:
        """Makes all certificates anew, and leaves alone who is trusted."""
        beside = self.folder / "renewed"
        (beside / "authority").mkdir(parents=True, exist_ok=True)
        for file in ("ca.crt", "ca.key"):
            shutil.copy(self.certificates / "authority" / file, beside / "authority")
        run(DEPLOY / "certificates.sh", beside)
        for name in (*SERVICES, "gateway", "public"):
            for file in ("tls.key", "tls.crt"):
                (beside / name / file).rename(self.certificates / name / file)

    def new_authority(self) -> None:
        """Puts another authority in place of the one that signs. Nobody trusts it before `trust`
        says so."""
        authority = self.certificates / "authority"
        run(DEPLOY / "certificates.sh", self.folder / "another", "public")
        for name in ("ca.crt", "ca.key"):
            (self.folder / "another/authority" / name).rename(authority / name)

    def signed_apart(self, name: str) -> Path:
        """A folder with a key and certificate for a name, by the authority that signs, which nobody
        else is given."""
        apart = Path(tempfile.mkdtemp(prefix="apart-", dir=self.folder))
        (apart / "authority").mkdir(parents=True, exist_ok=True)
        for file in ("ca.crt", "ca.key"):
            shutil.copy(self.certificates / "authority" / file, apart / "authority")
        run(DEPLOY / "certificates.sh", apart, name)
        return apart / name

    def authority(self) -> bytes:
        """The certificate of the authority that signs."""
        return (self.certificates / "authority/ca.crt").read_bytes()

    def trust(self, *authorities: bytes) -> None:
        """Lets all trust these authorities."""
        for folder in self.certificates.iterdir():
            if folder.name != "authority":
                beside = folder / ".ca.crt"
                beside.write_bytes(b"".join(authorities))
                beside.rename(folder / "ca.crt")

    def write_keys(self, *issuers: Issuer) -> None:
        """Replaces the keys by which tokens are checked."""
        (self.folder / "identity").mkdir(exist_ok=True)
        beside = self.folder / "identity/.jwks.json"
        beside.write_text(key_set(*issuers))
        beside.rename(self.folder / "identity/jwks.json")

    def public_authority(self) -> bytes:
        """Whom callers must trust."""
        return (self.certificates / "public/ca.crt").read_bytes()

    def placed(self, text: str) -> str:
        """A configuration with the paths of this folder."""
        places = {
            "/etc/envoy/secrets": self.folder / "secrets",
            "/var/run/plazo/public": self.certificates / "public",
            "/var/run/plazo/tls": self.certificates / "gateway",
            "/var/run/plazo/identity": self.folder / "identity",
        }
        for shipped, here in places.items():
            text = text.replace(shipped, str(here))
        return text

    def write_secrets(self) -> None:
        """Writes where Envoy finds which certificate."""
        (self.folder / "secrets").mkdir(exist_ok=True)
        for file in (DEPLOY / "gateway/secrets").iterdir():
            (self.folder / "secrets" / file.name).write_text(self.placed(file.read_text()))

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Recorder:
    """Stands for a service: takes any call, notes it, and answers as it is told. Like a service it
    wants to know by certificate who calls."""

    def __init__(self, files: Files, name: str) -> None:
        self.name = name
        self.calls: list[Call] = []
        self.callers: set[str] = set()
        # How long the last caller was ready to wait when his call came, in seconds.
        self.time_left_s: float | None = None
        self.failures_left = 0
        self.healthy = True
        # How many answers a stream has, and what each one waits for.
        self.stream_answers = 1
        self.release = threading.Event()
        self.release.set()
        folder = files.certificates / name
        credentials = grpc.ssl_server_credentials(
            [((folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes())],
            (folder / "ca.crt").read_bytes(),
            require_client_auth=True,
        )
        self._server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=32),
            handlers=[_AnyCall(self)],
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 8 << 20)],
        )
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return "127.0.0.1", self.port

    def answer(self, path: str, request: bytes, context: grpc.ServicerContext) -> Iterable[bytes]:
        """The answers to one call."""
        if path == HEALTH_CHECK:
            yield HEALTH_SERVING if self.healthy else b"\x08\x02"
            return
        identities = context.auth_context().get("x509_subject_alternative_name", [])
        self.callers |= {identity.decode() for identity in identities}
        self.time_left_s = context.time_remaining()
        self.calls.append((path, {key: value for key, value in context.invocation_metadata()}))
        if self.failures_left > 0:
            self.failures_left -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "for the test")
        for _ in range(self.stream_answers):
            if not self.release.wait(WAIT_S):
                context.abort(grpc.StatusCode.INTERNAL, "the test has forgotten this call")
            yield b""

    def stop(self) -> None:
        """Ends at once."""
        self.release.set()
        self._server.stop(None).wait()


class _AnyCall(grpc.GenericRpcHandler):
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        path = details.method
        # On the wire one message in, any number of messages out is what all public calls are.
        return grpc.unary_stream_rpc_method_handler(
            lambda request, context: self._recorder.answer(path, request, context)
        )


class Gateway:
    """Envoy as a process. `change` may change the configuration before it starts, and
    `wrap` the command. Back ends that are not given keep the names that are shipped."""

    def __init__(
        self,
        files: Files,
        backends: dict[str, list[Endpoint]],
        change: Callable[[dict[str, Any]], None] = lambda _: None,
        wrap: Callable[[list[str]], list[str]] = lambda command: command,
    ) -> None:
        self.files = files
        self._wrap = wrap
        base = free_ports()
        self.port, self._admin_port = base, base + 1
        configuration = yaml.safe_load(files.placed((DEPLOY / "gateway/envoy.yaml").read_text()))
        for cluster in configuration["static_resources"]["clusters"]:
            if cluster["name"] in backends:
                (group,) = cluster["load_assignment"]["endpoints"]
                group["lb_endpoints"] = [_endpoint(*each) for each in backends[cluster["name"]]]
        listener = public_listener(configuration)
        listener["address"] = _address("127.0.0.1", self.port)
        configuration["admin"]["address"] = _address("127.0.0.1", self._admin_port)
        change(configuration)
        files.write_secrets()
        self._path = files.folder / "envoy.json"
        self._path.write_text(json.dumps(configuration))
        self._log = files.folder / "envoy.log"
        self._process: subprocess.Popen[bytes] | None = None

    def validate(self) -> None:
        """Lets Envoy judge the configuration."""
        run(tool("envoy"), "--mode", "validate", "--log-level", "error", "-c", self._path)

    def start(self) -> None:
        """Starts it, and waits until it serves and has heard of all back ends."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._wrap(
                    [
                        *(tool("envoy"), "-c", str(self._path), "--use-dynamic-base-id"),
                        *("--concurrency", "2", "--log-level", "warning"),
                        *("--drain-time-s", "1", "--parent-shutdown-time-s", "2"),
                    ]
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": str(self.files.folder)},
                start_new_session=True,
            )
        wait_for("Envoy serves", self._is_live, START_TIMEOUT_S)

    def _is_live(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"Envoy ended:\n{self.log()[-4000:]}")
        try:
            return self.admin("/ready").strip() == "LIVE"
        except OSError:
            return False

    def log(self) -> str:
        """What it wrote: its own messages and the access log."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def accesses(self) -> list[dict[str, Any]]:
        """The access log."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def admin(self, path: str) -> str:
        """Asks the administration interface."""
        url = f"http://127.0.0.1:{self._admin_port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())

    def statistic(self, name: str) -> int:
        """One of Envoy's counters or gauges; 0 for one that it does not have yet."""
        for line in self.admin(f"/stats?filter=^{name}$").splitlines():
            return int(line.rpartition(": ")[2])
        return 0

    def healthy(self, cluster: str) -> int:
        """How many addresses of a back end are in use."""
        return self.statistic(f"cluster.{cluster}.membership_healthy")

    def wait_for_backends(self) -> None:
        """Waits until each service has an address that is healthy."""
        for name in SERVICES:
            wait_for(f"{name} is healthy", lambda: self.healthy(name) > 0)

    def channel(self, *options: tuple[str, Any]) -> grpc.Channel:
        """A connection as a caller outside has it."""
        credentials = grpc.ssl_channel_credentials(self.files.public_authority())
        defaults = (
            ("grpc.use_local_subchannel_pool", 1),
            # What is repeated shall be repeated by the gateway.
            ("grpc.enable_retries", 0),
        )
        return grpc.secure_channel(
            f"localhost:{self.port}", credentials, options=(*defaults, *options)
        )

    def stop(self) -> None:
        """Ends it; fails when it ended badly or before."""
        if self._process is not None:
            self._process.terminate()
            code = self._process.wait(timeout=START_TIMEOUT_S)
            if code not in (0, -15):
                raise AssertionError(f"Envoy ended with {code}:\n{self.log()[-4000:]}")


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _endpoint(host: str, port: int) -> dict[str, Any]:
    return {"endpoint": {"address": _address(host, port)}}


def public_listener(configuration: dict[str, Any]) -> dict[str, Any]:
    """The listener for callers outside."""
    (found,) = (
        each for each in configuration["static_resources"]["listeners"] if each["name"] == "public"
    )
    listener: dict[str, Any] = found
    return listener


def http_settings(configuration: dict[str, Any]) -> dict[str, Any]:
    """The settings of HTTP in a configuration."""
    chain = public_listener(configuration)["filter_chains"][0]
    settings: dict[str, Any] = chain["filters"][0]["typed_config"]
    return settings


def http_filter(configuration: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings of one of its filters."""
    (found,) = (
        each["typed_config"]
        for each in http_settings(configuration)["http_filters"]
        if each["name"] == f"envoy.filters.http.{name}"
    )
    settings: dict[str, Any] = found
    return settings
