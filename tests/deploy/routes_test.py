"""What the gateway lets through, in both of its forms, is what the services' tables call public."""

from __future__ import annotations

import unittest
from typing import Any

import yaml

from gateway import http_settings
from manifests import by_kind, rendered
from repository import DEPLOY, methods, permissions, public_methods


def envoy_route(path: str, routes: list[dict[str, Any]]) -> str | None:
    """The cluster to which Envoy's first matching route sends a path; None where there is none."""
    for route in routes:
        match = route["match"]
        matches = path == match["path"] if "path" in match else path.startswith(match["prefix"])
        if matches:
            return route["route"]["cluster"] if "route" in route else None
    return None


def kubernetes_route(path: str, routes: list[dict[str, Any]]) -> set[str]:
    """The services to which the GRPCRoutes send a path."""
    service, method = path.removeprefix("/").split("/")
    backends = set()
    for route in routes:
        for rule in route["spec"]["rules"]:
            # A rule without matches takes everything.
            for match in rule.get("matches", [{}]):
                wanted = match.get("method", {})
                if wanted.get("type", "Exact") != "Exact":
                    raise AssertionError(f"{match}: patterns are not checked here")
                if wanted.get("service", service) == service and (
                    wanted.get("method", method) == method
                ):
                    backends |= {backend["name"] for backend in rule["backendRefs"]}
    return backends


class RoutesTest(unittest.TestCase):
    """Checks each call of the protos."""

    def test_the_tables_know_every_call(self) -> None:
        self.assertEqual(set(permissions()), set(methods()))
        self.assertGreater(len(public_methods()), 50)
        self.assertGreater(len(set(methods()) - public_methods()), 5)

    def test_envoy_lets_public_calls_through_and_no_others(self) -> None:
        configuration = yaml.safe_load((DEPLOY / "gateway/envoy.yaml").read_text())
        (host,) = http_settings(configuration)["route_config"]["virtual_hosts"]
        for path, process in methods().items():
            with self.subTest(path):
                expected = process if path in public_methods() else None
                self.assertEqual(envoy_route(path, host["routes"]), expected)
        for path in ("/", "/grpc.health.v1.Health/Check", "/plazo.ticketing.v1.TicketServic/Get"):
            self.assertIsNone(envoy_route(path, host["routes"]))

    def test_kubernetes_lets_public_calls_through_and_no_others(self) -> None:
        for overlay in ("development", "production"):
            routes = by_kind(rendered(overlay), "GRPCRoute")
            for path, process in methods().items():
                with self.subTest(path, overlay=overlay):
                    expected = {process} if path in public_methods() else set()
                    self.assertEqual(kubernetes_route(path, routes), expected)


if __name__ == "__main__":
    unittest.main()
