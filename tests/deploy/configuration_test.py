"""The configuration in the manifests is one that the programs take, and fits the manifests."""

from __future__ import annotations

import subprocess
import tempfile
import unittest
from pathlib import Path
from urllib.parse import urlsplit

from cluster import program
from configuration import parsed, text
from manifests import WHOLE, by_kind, named, rendered
from repository import DATABASE_SERVICES, PORTS, SERVICES, methods, permissions

IDENTITY = "spiffe://plazo/ns/plazo/sa/"


class ConfigurationTest(unittest.TestCase):
    """The files of both overlays."""

    def test_programs_take_it(self) -> None:
        for overlay in WHOLE:
            for service in SERVICES:
                with self.subTest(service, overlay=overlay):
                    outcome = check_config(service, text(overlay, service))
                    self.assertEqual(outcome.returncode, 0, outcome.stderr)

    def test_a_wrong_key_is_refused(self) -> None:
        outcome = check_config("timer", text("production", "timer") + "\n[surprise]\nkey = 1\n")
        self.assertEqual(outcome.returncode, 64, outcome.stderr)
        self.assertIn("surprise", outcome.stderr)

    def test_environment_of_pods_is_taken(self) -> None:
        for overlay in WHOLE:
            for service in SERVICES:
                (container,) = named(rendered(overlay), "Deployment", service)["spec"]["template"][
                    "spec"
                ]["containers"]
                environment = {
                    each["name"]: each.get("value", value_of(each["name"]))
                    for each in container["env"]
                }
                outcome = check_config(service, text(overlay, service), environment)
                self.assertEqual(outcome.returncode, 0, outcome.stderr)
                misspelt = {key: value for key, value in environment.items()}
                misspelt[f"PLAZO_{service.upper()}__SERVER__LISTENN"] = "1"
                outcome = check_config(service, text(overlay, service), misspelt)
                self.assertEqual(outcome.returncode, 64, outcome.stderr)

    def test_the_file_of_the_load_is_taken(self) -> None:
        (file,) = by_kind(rendered("development/load"), "ConfigMap")
        outcome = check_config("timer", file["data"]["timer.toml"])
        self.assertEqual(outcome.returncode, 0, outcome.stderr)

    def test_ports_and_probes_are_those_of_the_file(self) -> None:
        for overlay in WHOLE:
            for service in SERVICES:
                with self.subTest(service, overlay=overlay):
                    server = parsed(overlay, service)["server"]
                    (container,) = named(rendered(overlay), "Deployment", service)["spec"][
                        "template"
                    ]["spec"]["containers"]
                    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
                    self.assertEqual(server["listen"], f"0.0.0.0:{ports['grpc']}")
                    self.assertEqual(server["health_listen"], f"0.0.0.0:{ports['health']}")
                    self.assertEqual(server["metrics_listen"], f"0.0.0.0:{ports['metrics']}")
                    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                        self.assertEqual(container[probe]["grpc"]["port"], ports["health"])

    def test_services_call_each_other_by_name_and_identity(self) -> None:
        for overlay in WHOLE:
            certificates = by_kind(rendered(overlay), "Certificate")
            for service in SERVICES:
                for section in parsed(overlay, service).values():
                    if not isinstance(section, dict) or "endpoint" not in section:
                        continue
                    endpoint = urlsplit(section["endpoint"])
                    with self.subTest(service, overlay=overlay, endpoint=section["endpoint"]):
                        self.assertEqual(endpoint.scheme, "https")
                        self.assertEqual(endpoint.port, PORTS[str(endpoint.hostname)])
                        self.assertEqual(section["server_identity"], IDENTITY + endpoint.hostname)
                        self.assertIs(section["balance"], True)
                        (certificate,) = (
                            each
                            for each in certificates
                            if each["metadata"]["name"] == endpoint.hostname
                        )
                        self.assertEqual(certificate["spec"]["uris"], [section["server_identity"]])

    def test_each_certificate_is_for_one_identity(self) -> None:
        for overlay in WHOLE:
            certificates = {
                each["metadata"]["name"]: each["spec"]
                for each in by_kind(rendered(overlay), "Certificate")
            }
            for name in (*SERVICES, "gateway", "operator"):
                with self.subTest(name, overlay=overlay):
                    self.assertEqual(certificates[name]["uris"], [IDENTITY + name])
                    self.assertEqual(certificates[name]["secretName"], f"{name}-tls")
                    self.assertEqual(certificates[name]["issuerRef"]["name"], "plazo")
            # What the world sees says nothing of who is a service.
            self.assertNotIn("uris", certificates["gateway-public"])
            self.assertNotEqual(certificates["gateway-public"]["issuerRef"]["name"], "plazo")

    def test_peers_may_call_what_is_for_services_and_no_more(self) -> None:
        for service in SERVICES:
            access = parsed("production", service)["access"]
            for peer in access.get("peers", []):
                name = peer["identity"].removeprefix(IDENTITY)
                self.assertEqual(peer["service"], name)
                # People, who call what the runbook says.
                if name != "operator":
                    self.assertIn(name, SERVICES)
                    called = {
                        urlsplit(section["endpoint"]).hostname
                        for section in parsed("production", name).values()
                        if isinstance(section, dict) and "endpoint" in section
                    }
                    self.assertIn(service, called, f"{name} does not call {service}")
                for path in peer["methods"]:
                    self.assertEqual(methods()[path], service)
                    self.assertIn("Service", permissions()[path])

    def test_tokens_of_the_issuer_are_believed_by_all(self) -> None:
        for overlay in WHOLE:
            issuers = [parsed(overlay, service)["access"]["issuers"] for service in SERVICES]
            self.assertTrue(all(each == issuers[0] for each in issuers), overlay)
            (policy,) = by_kind(rendered(overlay), "SecurityPolicy")
            (provider,) = policy["spec"]["jwt"]["providers"]
            (issuer,) = issuers[0]
            self.assertEqual(provider["issuer"], issuer["issuer"])
            self.assertEqual(provider["audiences"], [issuer["audience"]])

    def test_migrations_are_of_the_services_with_databases(self) -> None:
        for overlay in WHOLE:
            jobs = by_kind(rendered(f"{overlay}/migrate"), "Job")
            self.assertEqual(
                {each["metadata"]["name"] for each in jobs},
                {f"migrate-{service}" for service in DATABASE_SERVICES},
            )


def value_of(name: str) -> str:
    """A value of the kind that a Secret or the cluster gives."""
    if name.endswith("_URL"):
        redis = "redis://timer:secret@redis:6379/0"
        return redis if "REDIS" in name else "postgres://one:secret@postgres:5432/one"
    return "replica-1"


def check_config(
    service: str, content: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Lets a service's program judge a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{service}.toml"
        path.write_text(content)
        return subprocess.run(
            [program(f"plazo-{service}"), "--config", path, "--check-config"],
            env=environment or {},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )


if __name__ == "__main__":
    unittest.main()
