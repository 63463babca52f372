"""The pod of the load, as processes: the timer beside it and the load itself end well."""

from __future__ import annotations

import json
import os
import subprocess
import unittest
from typing import Any

from cluster import SeparateServices, program
from manifests import by_kind, named, rendered

# Small enough for a test; the shipped load is thousands a second for minutes.
SIZE = {"PLAZO_LOAD_RATE": "100", "PLAZO_LOAD_DURATION": "2s"}
LOAD_TIMEOUT_S = 120.0


class LoadPod(SeparateServices):
    """Runs the containers of the job on ports of its own."""

    def start(self) -> None:
        """Starts Redis, and the timer as the job has it."""
        self._servers = self.spawn("private-servers", [str(self.folder / "data")])
        redis = self._server_urls()["REDIS_URL"]
        (file,) = by_kind(rendered("development/load"), "ConfigMap")
        path = self.folder / "timer.toml"
        path.write_text(self.placed(file["data"]["timer.toml"]))
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


if __name__ == "__main__":
    unittest.main()
