"""The compose file: little right, no secrets, and nothing in it that is not there."""

from __future__ import annotations

import re
import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any

import yaml

from configuration_test import check_config
from manifests import by_kind, rendered, workloads
from repository import DATABASE_SERVICES, DEPLOY, ROOT, SERVICES, run

# Written by another part of the repository, and only used where somebody asks for it.
TELEMETRY = "./telemetry/"


class ComposeTest(unittest.TestCase):
    """deploy/compose.yaml, read with its anchors and merges."""

    def setUp(self) -> None:
        self.text = (DEPLOY / "compose.yaml").read_text()
        self.compose: dict[str, Any] = yaml.safe_load(self.text)
        self.services: dict[str, dict[str, Any]] = self.compose["services"]

    def test_containers_have_little_right_and_limits(self) -> None:
        for name, service in self.services.items():
            with self.subTest(name):
                self.assertIs(service["read_only"], True)
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertEqual(service["security_opt"], ["no-new-privileges:true"])
                self.assertRegex(service["user"], r"^[1-9]\d*:[1-9]\d*$")
                self.assertIn("mem_limit", service)
                self.assertIn("pids_limit", service)
                self.assertNotIn("privileged", service)
                self.assertRegex(service["image"].rpartition(":")[2], r"\d+\.\d+")
                self.assertNotIn("latest", service["image"])

    def test_only_the_gateway_is_published(self) -> None:
        published = {
            name: service["ports"] for name, service in self.services.items() if "ports" in service
        }
        gateway = published.pop("gateway")
        self.assertEqual(gateway, ["8443:8443"])
        for name, ports in published.items():
            self.assertIn("profiles", self.services[name])
            for port in ports:
                self.assertTrue(port.startswith("127.0.0.1:"), port)

    def test_only_who_must_gets_out_or_near_the_stores(self) -> None:
        self.assertTrue(self.compose["networks"]["stores"]["internal"])
        self.assertTrue(self.compose["networks"]["services"]["internal"])
        on = {
            network: {
                name
                for name, service in self.services.items()
                if network in service["networks"] and "profiles" not in service
            }
            for network in self.compose["networks"]
        }
        self.assertEqual(on["outside"], {"notification", "gateway"})
        migrations = {f"migrate-{name}" for name in DATABASE_SERVICES}
        self.assertEqual(on["stores"], {*SERVICES, *migrations, "postgres", "redis"})
        self.assertEqual(on["services"], {*SERVICES, "gateway"})

    def test_no_secret_is_written_down(self) -> None:
        self.assertIsNone(re.search(r"\w+://[^\s/]*:[^\s/]*@", self.text))
        for service in self.services.values():
            for key, value in service.get("environment", {}).items():
                if re.search("PASSWORD|SECRET|TOKEN|URL", key):
                    self.assertTrue(str(value).startswith("/run/secrets/"), key)
        ignored = (ROOT / ".gitignore").read_text().split()
        self.assertIn("/deploy/compose/secrets/", ignored)

    def test_what_is_mounted_is_there_or_prepared(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            prepared = prepare(Path(folder))
            for name, service in self.services.items():
                for mount in service.get("volumes", []):
                    source = mount.split(":")[0]
                    with self.subTest(name, source=source):
                        if source.startswith(TELEMETRY):
                            self.assertIn("profiles", service)
                        elif source.startswith("./compose/secrets"):
                            self.assertTrue((prepared / source).exists())
                        elif source.startswith("./"):
                            self.assertTrue((DEPLOY / source).exists())
                            self.assertTrue(mount.endswith(":ro"))
                        else:
                            self.assertIn(source, self.compose["volumes"])
                for source in service.get("env_file", []):
                    self.assertTrue((prepared / source).exists(), source)

    def test_services_take_what_is_prepared(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            prepared = prepare(Path(folder))
            for name in SERVICES:
                (file,) = self.services[name]["env_file"]
                lines = (prepared / file).read_text().splitlines()
                environment = dict(line.split("=", 1) for line in lines)
                configuration = DEPLOY / f"kubernetes/base/{name}/{name}.toml"
                outcome = check_config(name, configuration.read_text(), environment)
                self.assertEqual(outcome.returncode, 0, outcome.stderr)

    def test_what_is_there_is_kept(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            prepared = prepare(Path(folder))
            before = contents(prepared / "compose/secrets")
            self.assertEqual(contents(prepare(Path(folder)) / "compose/secrets"), before)
            for path in (prepared / "compose/secrets").rglob("*"):
                self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_programs_are_started_as_in_kubernetes(self) -> None:
        manifests = [*rendered("development"), *rendered("development/migrate")]
        for workload, template in workloads(by_kind(manifests, "Deployment", "Job")):
            (container,) = template["spec"]["containers"]
            command = [*container["command"], *container.get("args", [])]
            self.assertEqual(self.services[workload["metadata"]["name"]]["command"], command)

    def test_stores_are_those_of_kubernetes(self) -> None:
        for workload, template in workloads(by_kind(rendered("development"), "StatefulSet")):
            (container,) = template["spec"]["containers"]
            service = self.services[workload["metadata"]["name"]]
            self.assertEqual(service["image"], container["image"])
        self.assertIn("noeviction", self.services["redis"]["command"])


def prepare(folder: Path) -> Path:
    """A copy of deploy/ in which the secrets are prepared, once more if it is there already."""
    deploy = folder / "deploy"
    if not deploy.exists():
        shutil.copytree(DEPLOY, deploy)
        # Those of somebody who runs it on this machine.
        shutil.rmtree(deploy / "compose/secrets", ignore_errors=True)
    run(deploy / "compose/prepare")
    return deploy


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


if __name__ == "__main__":
    unittest.main()
