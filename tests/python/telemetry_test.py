"""The rules, dashboards and runbook of deploy/telemetry, against what a running cluster exports.

Prometheus and promtool are the system's. A cluster by `plazo up` is scraped by a real Prometheus with the rules; what rules,
dashboards and autoscalers name must be there with its labels, before the first ticket.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

# Their descriptors are found by name.
import plazo.history.v1.projection_service_pb2
import plazo.history.v1.report_service_pb2
import plazo.notification.v1.notification_service_pb2
import plazo.notification.v1.webhook_subscription_pb2
import plazo.ticketing.v1.erasure_service_pb2
import plazo.ticketing.v1.snapshot_service_pb2
import plazo.ticketing.v1.ticket_service_pb2
import plazo.timer.v1.ticket_handler_service_pb2
import plazo.timer.v1.timer_service_pb2  # noqa: F401
import yaml
from google.protobuf import descriptor_pool, json_format, message_factory
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as schema

from cluster import METRICS_PORT_OFFSET, SERVICES, Cluster, free_ports

ROOT = Path(__file__).resolve().parents[2]
TELEMETRY = ROOT / "deploy/telemetry"
PROMETHEUS = TELEMETRY / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
CASES = sorted((PROMETHEUS / "tests").glob("*.yml"))
DASHBOARDS = sorted((TELEMETRY / "dashboards").glob("*.json"))
# What a service shows only where it is configured.
ONLY_IF_CONFIGURED = {
    "plazo_tls_certificate_expiry_timestamp_seconds": "services with TLS",
    "plazo_access_keys_age_seconds": "services with issuers of tokens",
    "plazo_access_key_refreshes_total": "services with issuers of tokens",
}
READY_TIMEOUT_S = 60.0

SELECTOR = re.compile(r"\b(plazo[a-zA-Z0-9_:]*|up|ALERTS)\b(\{[^}]*\})?")
GROUPING = re.compile(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)")


def groups() -> Iterator[tuple[Path, dict]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield path, rule


def alerts() -> dict[str, dict]:
    return {rule["alert"]: rule for _, rule in groups() if "alert" in rule}


def records() -> set[str]:
    return {rule["record"] for _, rule in groups() if "record" in rule}


def panel_queries() -> Iterator[tuple[str, str]]:
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.stem}: {panel['title']}", target["expr"]


def other_queries() -> Iterator[tuple[str, str]]:
    """What the manifests ask Prometheus for."""
    for path in (ROOT / "deploy").glob("kubernetes/**/*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            triggers = ((document or {}).get("spec") or {}).get("triggers") or []
            for trigger in triggers if isinstance(triggers, list) else []:
                if "query" in (trigger.get("metadata") or {}):
                    yield path.name, trigger["metadata"]["query"]


def queries() -> Iterator[tuple[str, str]]:
    for path, rule in groups():
        yield f"{path.stem}: {rule.get('alert') or rule['record']}", rule["expr"]
    yield from panel_queries()
    yield from other_queries()


def runnable(query: str) -> str:
    # The namespace is Kubernetes' to tell.
    return query.replace("$__rate_interval", "1m").replace('{namespace="plazo"}', "")


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"no `{name}`: run `make setup-test`")
    return path


class Files(unittest.TestCase):
    """What can be told without a cluster."""

    def test_rules_are_sound_and_do_what_their_cases_say(self) -> None:
        self.promtool("check", "rules", *map(str, RULES))
        self.promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))
        self.promtool("test", "rules", *map(str, CASES))

    def promtool(self, *arguments: str) -> None:
        done = subprocess.run(
            [tool("promtool"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_each_alert_has_a_case_that_fires_it_and_one_that_does_not(self) -> None:
        seen: dict[str, set[bool]] = {}
        for path in CASES:
            for case in yaml.safe_load(path.read_text())["tests"]:
                for check in case["promql_expr_test"]:
                    found = re.search(r'alertname="(\w+)", alertstate="firing"', check["expr"])
                    self.assertIsNotNone(found, check)
                    seen.setdefault(found[1], set()).add(bool(check["exp_samples"]))
        self.assertEqual(seen, {name: {True, False} for name in alerts()})

    def test_each_alert_has_an_entry_in_the_runbook(self) -> None:
        runbook = (TELEMETRY / "RUNBOOK.md").read_text()
        entries = re.findall(r"^### (\w+)$(.*?)(?=^##|\Z)", runbook, re.MULTILINE | re.DOTALL)
        self.assertEqual([name for name, _ in entries], list(dict(entries)), "each once")
        self.assertEqual(set(dict(entries)), set(alerts()))
        for name, entry in entries:
            self.assertIn("**Look at**", entry, name)
            self.assertIn("**Do**", entry, name)
        for name, rule in alerts().items():
            annotations = rule["annotations"]
            self.assertEqual(
                annotations["runbook_url"], f"deploy/telemetry/RUNBOOK.md#{name.lower()}"
            )
            self.assertIn(rule["labels"]["severity"], ("page", "ticket"))
            self.assertTrue(annotations["summary"] and annotations["description"])
        anchors = {name.lower() for name, _ in entries}
        self.assertLessEqual(set(re.findall(r"\]\(#(\w+)\)", runbook)), anchors)

    def test_calls_of_the_runbook_exist(self) -> None:
        runbook = re.sub(r"\n\s*", " ", (TELEMETRY / "RUNBOOK.md").read_text())
        pool = descriptor_pool.Default()
        service = ""
        called = 0
        pattern = r"((?:plazo\.\w+\.v1\.)?\w*Service|…)/([A-Z]\w+)(?: '(\{[^']*\})')?[` ]"
        for name, method, body in re.findall(pattern, runbook + " "):
            if name == "…":
                name = service
            elif "." not in name:
                # By its short name in a sentence: it is one of ours.
                name = self.full_name(name)
            service = name
            descriptor = pool.FindServiceByName(name).FindMethodByName(method)
            if body:
                request = message_factory.GetMessageClass(descriptor.input_type)()
                json_format.Parse(body, request)
            called += 1
        self.assertGreater(called, 20)

    def full_name(self, short: str) -> str:
        for path in (ROOT / "proto").rglob("*.proto"):
            text = path.read_text()
            if f"service {short} {{" in text:
                return re.search(r"^package (.*);", text, re.MULTILINE)[1] + "." + short
        raise AssertionError(f"no service {short}")

    def test_dashboards_are_as_generated_and_fit_the_schema(self) -> None:
        command = [sys.executable, str(ROOT / ".config/scripts/dashboards"), "--check"]
        self.assertEqual(subprocess.run(command, check=False).returncode, 0)
        register_default_plugins()
        for path in DASHBOARDS:
            written = json.loads(path.read_text())
            read = schema.Dashboard.from_json(written)
            known = json.loads(JSONEncoder(sort_keys=True).encode(read))
            self.assertEqual(set(names(written)) - set(names(known)), set(), path)
            ids = [panel["id"] for panel in written["panels"]]
            self.assertEqual(len(ids), len(set(ids)), path)
            for panel in written["panels"]:
                if panel["type"] != "row":
                    self.assertTrue(panel["description"], panel["title"])
                    self.assertEqual(panel["datasource"]["uid"], "${datasource}")
                    self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])

    def test_the_collector_uses_what_it_defines(self) -> None:
        config = yaml.safe_load((TELEMETRY / "collector.yml").read_text())
        used: dict[str, set[str]] = {"extensions": set(config["service"]["extensions"])}
        for pipeline in config["service"]["pipelines"].values():
            for kind, parts in pipeline.items():
                used.setdefault(kind, set()).update(parts)
            self.assertEqual(pipeline["processors"][0], "memory_limiter")
        for kind in ("receivers", "processors", "exporters", "extensions"):
            self.assertEqual(used[kind], set(config[kind]), kind)


def names(value: object, prefix: str = "") -> Iterator[str]:
    """The paths of all keys."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{prefix}.{key}"
            yield from names(inner, f"{prefix}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner, prefix)


class Scraped(unittest.TestCase):
    """A real Prometheus at a real cluster in which nothing has happened yet."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="plazo-prometheus-", dir="/tmp"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.cluster = Cluster()
        cls.cluster.start()
        cls.addClassCleanup(cls.cluster.stop)
        cls.port = free_ports()
        config = cls.folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(cls.config()))
        with (cls.folder / "log").open("wb") as log:
            cls.process = subprocess.Popen(
                [
                    tool("prometheus"),
                    f"--config.file={config}",
                    f"--storage.tsdb.path={cls.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{cls.port}",
                ],
                stdout=log,
                stderr=log,
            )
        cls.addClassCleanup(cls.end)
        cls.wait_until_scraped()

    @classmethod
    def end(cls) -> None:
        cls.process.terminate()
        cls.process.wait(timeout=30)

    @classmethod
    def config(cls) -> dict:
        """The configuration for one machine, on this cluster's ports and faster; and the one for Kubernetes, with pods
        as its discovery would tell them in place of the discovery, which Debian's Prometheus lacks."""
        local = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        local["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        for path in RULES:
            rules = yaml.safe_load(path.read_text())
            for group in rules["groups"]:
                del group["interval"]
            (cls.folder / path.name).write_text(yaml.safe_dump(rules))
        local["rule_files"] = [str(cls.folder / path.name) for path in RULES]
        ports = {
            name: cls.cluster.base_port + index + METRICS_PORT_OFFSET
            for index, name in enumerate(SERVICES)
        }
        for static in local["scrape_configs"][0]["static_configs"]:
            static["targets"] = [f"127.0.0.1:{ports[static['labels']['service']]}"]
        kubernetes = yaml.safe_load((PROMETHEUS / "kubernetes.yml").read_text())
        job = kubernetes["scrape_configs"][0]
        (discovery,) = job.pop("kubernetes_sd_configs")
        assert discovery == {"role": "pod", "namespaces": {"names": ["plazo"]}}, discovery
        job["job_name"] = "pods"
        # Who is scraped is of interest; the samples are those of the other job.
        job["metric_relabel_configs"] = [
            {"source_labels": ["__name__"], "regex": ".+", "action": "drop"}
        ]
        pods = [(name, "metrics", "Running", port) for name, port in ports.items()]
        pods += [
            ("timer", "grpc", "Running", 1),
            ("redis", "metrics", "Running", 2),
            ("history", "metrics", "Succeeded", 3),
        ]
        job["static_configs"] = [
            {
                "targets": [f"127.0.0.1:{port}"],
                "labels": {
                    "__meta_kubernetes_pod_label_app_kubernetes_io_name": name,
                    "__meta_kubernetes_pod_container_port_name": port_name,
                    "__meta_kubernetes_pod_phase": phase,
                    "__meta_kubernetes_namespace": "plazo",
                    "__meta_kubernetes_pod_name": f"{name}-1",
                    "__meta_kubernetes_pod_node_name": "node-1",
                },
            }
            for name, port_name, phase, port in pods
        ]
        local["scrape_configs"].append(job)
        return local

    @classmethod
    def wait_until_scraped(cls) -> None:
        """Until all targets are up, all rules were evaluated, and there is enough for rates."""
        give_up_at = time.monotonic() + READY_TIMEOUT_S
        last = ""
        while time.monotonic() < give_up_at:
            if cls.process.poll() is not None:
                break
            try:
                up = cls.ask("query", query='count(sum_over_time(up{job="plazo"}[1m]) >= 4)')[
                    "result"
                ]
                health = {
                    rule["health"]
                    for group in cls.ask("rules")["groups"]
                    for rule in group["rules"]
                }
                last = f"{up} {health}"
                is_up = up and up[0]["value"][1] == "4"
                if is_up and health == {"ok"} and cls.has_all(records()):
                    return
            except OSError as error:
                last = str(error)
            time.sleep(0.2)
        raise AssertionError(f"{last}\n{(cls.folder / 'log').read_text()}")

    @classmethod
    def has_all(cls, metrics: set[str]) -> bool:
        found = cls.ask("label/__name__/values")
        return metrics <= set(found)

    @classmethod
    def ask(cls, what: str, **parameters: str) -> dict | list:
        url = f"http://127.0.0.1:{cls.port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            if error.code == 503:
                # Not ready yet, an OSError like no connection.
                raise
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]

    def test_rules_are_loaded_and_evaluated_without_error(self) -> None:
        loaded = []
        for group in self.ask("rules")["groups"]:
            for rule in group["rules"]:
                self.assertEqual(rule["health"], "ok", rule)
                loaded.append(rule["name"])
        self.assertEqual(set(loaded), records() | set(alerts()))

    def test_pods_are_found_by_name_and_port(self) -> None:
        found = {
            tuple(sorted(target["labels"].items()))
            for target in self.ask("targets", state="active")["activeTargets"]
            if target["scrapePool"] == "pods"
        }
        self.assertEqual({dict(labels)["service"] for labels in found}, set(SERVICES), found)
        for labels in map(dict, found):
            self.assertEqual(labels["namespace"], "plazo")
            self.assertEqual(labels["pod"], f"{labels['service']}-1")
        self.assertEqual(len(found), len(SERVICES))

    def test_an_idle_cluster_raises_no_alert(self) -> None:
        firing = self.ask("query", query='ALERTS{alertname=~"Plazo.+"}')["result"]
        self.assertEqual([each["metric"] for each in firing], [])

    def test_what_is_named_is_exported_with_its_labels(self) -> None:
        for where, query in queries():
            query = runnable(query)
            # Words in strings and label lists are no metrics.
            plain = GROUPING.sub("", query)
            selectors = {
                (name, matchers) for name, matchers in SELECTOR.findall(plain) if name != "ALERTS"
            }
            self.assertTrue(selectors or "ALERTS" in query, (where, query))
            labels: set[str] = {"alertname", "service"} if "ALERTS" in query else set()
            for name, matchers in selectors:
                if name in ONLY_IF_CONFIGURED:
                    labels |= {"issuer"} | {"service", "instance"}
                    continue
                # What is left out need not be there: codes other than OK come with their first call.
                wanted = re.sub(r'\w+![=~]"[^"]*",?', "", matchers)
                found = self.ask("series", **{"match[]": name + wanted})
                for matcher in re.findall(r'(\w+)(=~)"([^"]*)"', matchers):
                    self.check_alternatives(where, name, matcher)
                self.assertTrue(found, f"{where}: nothing exports {name}{matchers}")
                labels |= {label for series in found for label in series}
            for listed in GROUPING.findall(query):
                for label in filter(None, map(str.strip, listed.split(","))):
                    self.assertIn(label, labels | {"le"}, f"{where}: {query}")

    def check_alternatives(self, where: str, name: str, matcher: tuple[str, str, str]) -> None:
        """Each of `a|b|c` is a value that there is."""
        label, _, values = matcher
        for value in values.split("|") if re.fullmatch(r"[\w|]+", values) else []:
            found = self.ask("series", **{"match[]": f'{name}{{{label}="{value}"}}'})
            self.assertTrue(found, f'{where}: nothing exports {name}{{{label}="{value}"}}')

    def test_panels_show_something(self) -> None:
        for where, query in panel_queries():
            result = self.ask("query", query=runnable(query))["result"]
            is_filtered = "> 0" in query or "ALERTS" in query
            if not is_filtered and not any(name in query for name in ONLY_IF_CONFIGURED):
                self.assertTrue(result, f"{where}: {query}")


if __name__ == "__main__":
    unittest.main()
