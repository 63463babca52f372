"""The load, as processes: its pod with the timer beside it, and the load on services with certificates
and tokens."""

from __future__ import annotations

import json
import os
import subprocess
import time
import unittest
from pathlib import Path
from typing import Any

import grpc
from plazo.timer.v1 import ticket_handler_service_pb2 as handler
from plazo.timer.v1 import ticket_handler_service_pb2_grpc

from cluster import SeparateServices, program
from gateway import Files
from manifests import by_kind, named, rendered
from secured import SecuredServices
from tokens import Issuer

# Small enough for a test; the shipped load is thousands a second for minutes.
SIZE = {"PLAZO_LOAD_RATE": "100", "PLAZO_LOAD_DURATION": "2s"}
LOAD_TIMEOUT_S = 120.0
IDENTITY = "spiffe://plazo/ns/plazo/sa/"
# How much the clocks of services and of the issuer may differ, as the shipped files have it.
LEEWAY_S = 30
TENANTS = 3
# What ticketing's file has besides while a load is put on it, as deploy/README.md says.
FOLLOWER = f"""
[[access.peers]]
identity = "{IDENTITY}load"
service = "load"
methods = ["/plazo.ticketing.v1.FeedService/StreamEvents"]
"""
# A timer whose handler is the load, apart from the cluster's.
TIMER = f"""
[server]
listen = "127.0.0.1:5002"
health_listen = "127.0.0.1:6002"
metrics_listen = "127.0.0.1:9002"

[handler]
endpoint = "https://127.0.0.1:5010"
server_identity = "{IDENTITY}load"

[notification]
endpoint = "https://127.0.0.1:5003"
server_identity = "{IDENTITY}notification"

[timer]
namespace = "load"

[tls]
certificate_file = "CERTIFICATES/timer/tls.crt"
key_file = "CERTIFICATES/timer/tls.key"
roots_file = "CERTIFICATES/timer/ca.crt"

[[access.peers]]
identity = "{IDENTITY}load"
service = "load"
methods = ["/plazo.timer.v1.TimerService/*"]
"""


class LoadPod(SeparateServices):
    """Runs the containers of the job on ports of its own."""

    def start(self, timer: str | None = None) -> None:
        """Starts Redis, and the timer as the job has it, or with another configuration."""
        self._servers = self.spawn("private-servers", [str(self.folder / "data")])
        redis = self._server_urls()["REDIS_URL"]
        if timer is None:
            (file,) = by_kind(rendered("development/load"), "ConfigMap")
            timer = file["data"]["timer.toml"]
        path = self.folder / "timer.toml"
        path.write_text(self.placed(timer))
        self._services["timer"] = self.spawn(
            "plazo-timer", ["--config", str(path)], {"PLAZO_TIMER__REDIS__URL": redis}
        )
        self.wait_until_serving(self._services["timer"], "plazo-timer", self.place(6002))

    def place(self, port: int) -> str:
        """Where a port of the pod is here."""
        ports = {5002: 0, 5010: 1, 5003: 2, 6002: 3}
        return f"127.0.0.1:{self.base_port + ports.get(port, 4_000)}"

    def placed(self, text: str) -> str:
        """A text with the addresses of the pod replaced."""
        for port in (5002, 5010, 5003, 6002, 9002):
            for host in ("127.0.0.1", "0.0.0.0"):
                text = text.replace(f"{host}:{port}", self.place(port))
        return text

    def run_load(self, container: dict[str, Any]) -> dict[str, Any]:
        """Runs the load's container, and returns its result."""
        environment = {each["name"]: self.placed(each["value"]) for each in container["env"]}
        command = container["command"][0].removeprefix("/usr/local/bin/")
        outcome = subprocess.run(
            [program(command), *container["args"]],
            env={**os.environ, **environment, **SIZE},
            capture_output=True,
            text=True,
            check=False,
            timeout=LOAD_TIMEOUT_S,
        )
        if outcome.returncode != 0:
            raise AssertionError(f"{outcome.returncode}: {outcome.stdout}{outcome.stderr}")
        result: dict[str, Any] = json.loads(outcome.stdout)
        return result


class LoadTest(unittest.TestCase):
    """The job of the overlay for development."""

    def test_the_load_runs_beside_its_timer(self) -> None:
        job = named(rendered("development/load"), "Job", "load")
        (container,) = job["spec"]["template"]["spec"]["containers"]
        pod = LoadPod()
        self.addCleanup(pod.stop)
        pod.start()
        result = pod.run_load(container)
        self.assertTrue(result, "the result is on standard output")


class SecureLoad:
    """A `plazo load` on services with certificates, which has one of its own."""

    def __init__(self, files: Files, *arguments: str) -> None:
        own = files.certificates / "load"
        self._process = subprocess.Popen(
            [
                *(program("plazo"), "load", "--output", "-", "--rate", "50"),
                *("--certificate-file", own / "tls.crt", "--key-file", own / "tls.key"),
                *("--roots-file", own / "ca.crt", *arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def says(self, part: str) -> None:
        """Waits until it has told of something."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if part in line:
                return
        raise AssertionError(f"it ended and said nothing of {part}")

    def ended(self) -> tuple[int, str, str]:
        """Its exit code, and what it said."""
        out, told = self._process.communicate(timeout=LOAD_TIMEOUT_S)
        return self._process.returncode, out, told

    def result(self) -> dict[str, Any]:
        """Its result, when all was well."""
        code, out, told = self.ended()
        if code != 0:
            raise AssertionError(f"{code}: {out}{told}")
        result: dict[str, Any] = json.loads(out)
        return result


class FollowedServices(SecuredServices):
    """The services with the shipped configuration; ticketing lets the load follow its events."""

    def _configured(self, name: str) -> str:
        return super()._configured(name) + (FOLLOWER if name == "ticketing" else "")


class SecureLoadTest(unittest.TestCase):
    """Loads on services that believe certificates and tokens alone."""

    def setUp(self) -> None:
        self.files = Files()
        self.addCleanup(self.files.remove)
        self.files.renew("load")

    def write_tokens(self, issuer: Issuer, valid_s: int) -> Path:
        """A file with a token for each tenant. The services believe them for so long."""
        path = self.files.folder / "tokens"
        beside = path.with_suffix(".new")
        end = int(time.time()) + valid_s - LEEWAY_S
        tokens = [issuer.token(plazo_tenant=7 + tenant, exp=end) for tenant in range(TENANTS)]
        beside.write_text("\n".join(tokens))
        beside.rename(path)
        return path

    def test_real_tickets_in_a_cluster_with_certificates_and_tokens(self) -> None:
        issuer = Issuer()
        self.files.write_keys(issuer)
        services = FollowedServices(self.files)
        self.addCleanup(services.stop)
        services.start()
        there = (
            *("--handler", "ticketing", "--ahead", "2s", "--duration", "12s"),
            *("--ticketing", f"https://{services.addresses.ticketing}"),
        )
        known = (*there, "--server-identity", f"{IDENTITY}ticketing")
        tokens = str(self.write_tokens(issuer, valid_s=10))
        load = SecureLoad(self.files, *known, "--token-file", tokens)
        load.says("desks")
        # The first tokens end while the load goes on.
        self.write_tokens(issuer, valid_s=120)
        result = load.result()
        self.assertEqual(result["fired"], 600, result)
        self.assertEqual(result["settings"]["tenants"], TENANTS, result)

        for wrong, expected, part in (
            (("--tenants", "4", "--token-file", tokens), 64, "too few for --tenants 4"),
            ((), 1, "people's calls need --token-file"),
        ):
            code, _, told = SecureLoad(self.files, *known, *wrong).ended()
            self.assertEqual(code, expected, told)
            self.assertIn(part, told)
        # Another service is not taken for ticketing.
        other = (*there, "--server-identity", f"{IDENTITY}timer", "--token-file", tokens)
        code, _, told = SecureLoad(self.files, *other).ended()
        self.assertEqual(code, 1, told)
        self.assertIn("no ticketing answers", told)

    def test_a_timer_with_certificates_and_the_load_as_its_handler(self) -> None:
        pod = LoadPod()
        self.addCleanup(pod.stop)
        pod.start(TIMER.replace("CERTIFICATES", str(self.files.certificates)))
        load = SecureLoad(
            self.files,
            *("--timer", f"https://{pod.place(5002)}", "--duration", "3s"),
            # An address that others can reach.
            *("--serve-handler", pod.place(5010).replace("127.0.0.1", "0.0.0.0")),
            *("--server-identity", f"{IDENTITY}timer"),
        )
        load.says("arming")
        # Who has a certificate of another service may not ask, nor, for sure, who has none.
        self.assertIn(self.asks(pod.place(5010), "history"), "UNAUTHENTICATED PERMISSION_DENIED")
        self.assertEqual(self.asks(pod.place(5010), "timer"), "OK")
        self.assertEqual(self.asks(pod.place(5010), None), "UNAVAILABLE")
        result = load.result()
        self.assertEqual(result["fired"], 150, result)

    def asks(self, address: str, name: str | None) -> str:
        """What the handler says to a caller with this certificate."""
        roots = (self.files.certificates / "load/ca.crt").read_bytes()
        credentials = grpc.ssl_channel_credentials(roots)
        if name is not None:
            own = self.files.certificates / name
            key, certificate = (own / "tls.key").read_bytes(), (own / "tls.crt").read_bytes()
            credentials = grpc.ssl_channel_credentials(roots, key, certificate)
        options = [("grpc.ssl_target_name_override", "load")]
        with grpc.secure_channel(address, credentials, options) as channel:
            stub = ticket_handler_service_pb2_grpc.TicketHandlerServiceStub(channel)
            try:
                stub.ListPendingTickets(handler.ListPendingTicketsRequest(page_size=1), timeout=10)
            except grpc.RpcError as error:
                return str(error.code().name)
        return "OK"


if __name__ == "__main__":
    unittest.main()
