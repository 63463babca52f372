"""Prometheus, and the pods that it scrapes: the configuration and rules that are shipped for
Kubernetes, with pods told by a file in place of the discovery."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from cluster import free_ports
from gateway import wait_for
from pods import Pod
from repository import DEPLOY, SERVICES, tool

SHIPPED = DEPLOY / "telemetry/prometheus"
READY_TIMEOUT_S = 60.0


class Scraper:
    """One Prometheus."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="plazo-prometheus-", dir="/tmp"))
        self._pods = self._folder / "pods.json"
        self.follow([])
        self._port = free_ports()
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(self._configuration()))
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    tool("prometheus"),
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _configuration(self) -> dict[str, Any]:
        """What is shipped, faster."""
        told: dict[str, Any] = yaml.safe_load((SHIPPED / "kubernetes.yml").read_text())
        told["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        del told["alerting"]
        (job,) = told["scrape_configs"]
        (discovery,) = job.pop("kubernetes_sd_configs")
        assert discovery == {"role": "pod", "namespaces": {"names": ["plazo"]}}, discovery
        job["file_sd_configs"] = [{"files": [str(self._pods)], "refresh_interval": "1s"}]
        (self._folder / "rules").mkdir()
        for path in (SHIPPED / "rules").glob("*.yml"):
            rules = yaml.safe_load(path.read_text())
            for group in rules["groups"]:
                group.pop("interval", None)
            (self._folder / "rules" / path.name).write_text(yaml.safe_dump(rules))
        told["rule_files"] = [str(self._folder / "rules/*.yml")]
        return told

    def follow(self, pods: list[Pod]) -> None:
        """Tells it the pods with all their ports, as the discovery would."""
        told = [
            {
                "targets": [f"{pod.address}:{port['containerPort']}"],
                "labels": {
                    "__meta_kubernetes_namespace": "plazo",
                    "__meta_kubernetes_pod_container_port_name": port["name"],
                    "__meta_kubernetes_pod_label_app_kubernetes_io_name": pod.name,
                    "__meta_kubernetes_pod_name": pod.address,
                    "__meta_kubernetes_pod_node_name": "node-1",
                    "__meta_kubernetes_pod_phase": "Running",
                },
            }
            for pod in pods
            for port in pod.ports
        ]
        beside = self._folder / ".pods.json"
        beside.write_text(json.dumps(told))
        beside.rename(self._pods)

    def _ask(self, what: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> dict[str, float]:
        """The values of an expression by their labels, without the braces."""
        return {
            ",".join(f"{key}={value}" for key, value in sorted(each["metric"].items())): float(
                each["value"][1]
            )
            for each in self._ask("query", query=expression)["result"]
        }

    def wait_until_scraped_since(self, instant: float) -> None:
        """Waits until every target was scraped after an instant of the clock."""
        wait_for(
            "all pods are scraped",
            lambda: min(self.query('timestamp(up{job="plazo"})').values()) > instant,
        )

    def _problem(self, replicas: int) -> str:
        if self._process.poll() is not None:
            raise AssertionError((self._folder / "log").read_text()[-4000:])
        try:
            up = self.query('sum by (service) (up{job="plazo"})')
            groups = self._ask("rules")["groups"]
        except OSError as error:
            return str(error)
        rules = [rule for group in groups for rule in group["rules"]]
        bad = [rule["name"] for rule in rules if rule["health"] != "ok"]
        if up != {f"service={name}": float(replicas) for name in SERVICES}:
            return str(up)
        return f"{bad} of {len(rules)} rules" if bad or not rules else ""

    def wait_until_all_up(self, replicas: int) -> None:
        """Waits until so many pods of each service are scraped and all rules were evaluated."""
        give_up_at = time.monotonic() + READY_TIMEOUT_S
        while problem := self._problem(replicas):
            if time.monotonic() > give_up_at:
                raise AssertionError(f"not all pods are scraped, or not all rules good: {problem}")
            time.sleep(0.1)

    def down(self) -> dict[str, float]:
        """The targets that do not answer."""
        return self.query('up{job="plazo"} == 0')

    def fired(self) -> set[str]:
        """The alerts that have fired at any time since it was started."""
        found = self.query('count by (alertname) (last_over_time(ALERTS{alertstate="firing"}[1h]))')
        return {labels.removeprefix("alertname=") for labels in found}

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(timeout=30)
        shutil.rmtree(self._folder, ignore_errors=True)
