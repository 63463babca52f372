"""Every overlay renders, fits the schemas, and refers only to what is there."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from typing import Any

import kubernetes_validate

from manifests import OVERLAYS, WHOLE, Manifest, by_kind, containers, rendered, title, workloads

# The oldest version with all that is used, and the newest one that is known.
VERSIONS = ("1.30", "1.37")
# Kinds that Kubernetes itself does not have. They are checked by what they refer to.
OTHER_KINDS = {
    "cert-manager.io/v1": {"Issuer", "Certificate"},
    "gateway.networking.k8s.io/v1": {"Gateway", "GRPCRoute", "HTTPRoute", "BackendTLSPolicy"},
    "gateway.envoyproxy.io/v1alpha1": {
        "BackendTrafficPolicy",
        "ClientTrafficPolicy",
        "EnvoyProxy",
        "SecurityPolicy",
    },
    "keda.sh/v1alpha1": {"ScaledObject"},
}
# Made by hand, as deploy/README.md says: their values are secret, or the company's own.
SECRETS_BY_HAND = {
    "ticketing-database",
    "notification-database",
    "history-database",
    "timer-redis",
    "notification-credentials",
    "postgres",
    "redis",
}
CONFIG_MAPS_BY_HAND = {"identity"}


def references(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects below keys that end with Ref or Refs, each with its path."""
    if isinstance(value, list):
        for item in value:
            yield from references(item, path)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key.endswith(("Ref", "Refs")) and not key.startswith("secretKey"):
                for item in inner if isinstance(inner, list) else [inner]:
                    yield f"{path}.{key}", item
            yield from references(inner, f"{path}.{key}")


class ManifestsTest(unittest.TestCase):
    """All overlays."""

    def test_schemas(self) -> None:
        for overlay in OVERLAYS:
            for manifest in rendered(overlay):
                with self.subTest(title(manifest), overlay=overlay):
                    if manifest["kind"] in OTHER_KINDS.get(manifest["apiVersion"], ()):
                        continue
                    for version in VERSIONS:
                        kubernetes_validate.validate(manifest, version, strict=True)

    def test_everything_is_in_the_namespace_and_there_once(self) -> None:
        for overlay in OVERLAYS:
            seen = set()
            for manifest in rendered(overlay):
                name = (manifest["kind"], manifest["metadata"]["name"])
                self.assertNotIn(name, seen, overlay)
                seen.add(name)
                if manifest["kind"] != "Namespace":
                    self.assertEqual(manifest["metadata"]["namespace"], "plazo", name)

    def test_config_maps_and_secrets_are_there_or_made_by_hand(self) -> None:
        for overlay in OVERLAYS:
            manifests = rendered(overlay)
            maps = {each["metadata"]["name"] for each in by_kind(manifests, "ConfigMap")}
            secrets = {each["spec"]["secretName"] for each in by_kind(manifests, "Certificate")}
            for workload, template in workloads(manifests):
                with self.subTest(title(workload), overlay=overlay):
                    used_maps, used_secrets = mounted(template)
                    self.assertLessEqual(used_maps, maps | CONFIG_MAPS_BY_HAND)
                    self.assertLessEqual(used_secrets, secrets | SECRETS_BY_HAND)

    def test_references_lead_somewhere(self) -> None:
        for overlay in WHOLE:
            manifests = rendered(overlay)
            known = {(each["kind"], each["metadata"]["name"]): each for each in manifests}
            for certificate in by_kind(manifests, "Certificate"):
                known["Secret", certificate["spec"]["secretName"]] = certificate
            for name in CONFIG_MAPS_BY_HAND:
                known["ConfigMap", name] = {}
            for manifest in manifests:
                for path, reference in references(manifest.get("spec", {})):
                    if "fieldPath" in reference or path.endswith("secretRef"):
                        continue
                    if reference.get("kind") == "ClusterIssuer":
                        continue
                    with self.subTest(title(manifest), overlay=overlay, path=path):
                        kind = reference.get("kind") or default_kind(manifest, path)
                        self.assertIn((kind, reference["name"]), known)
                        check_place(self, known[kind, reference["name"]], reference)

    def test_autoscaling_is_never_by_what_is_pending(self) -> None:
        (timer,) = by_kind(rendered("production"), "ScaledObject")
        queries = [each["metadata"]["query"] for each in timer["spec"]["triggers"]]
        self.assertEqual(timer["spec"]["scaleTargetRef"]["name"], "timer")
        self.assertTrue(any("plazo_timer_lateness_seconds" in query for query in queries))
        self.assertTrue(any("plazo_timer_overdue_tickets" in query for query in queries))
        self.assertFalse(any("pending" in query for query in queries))


def mounted(template: Manifest) -> tuple[set[str], set[str]]:
    """The ConfigMaps and Secrets that a pod has, as files or in its environment."""
    maps, secrets = set(), set()
    for volume in template["spec"].get("volumes", []):
        if "configMap" in volume:
            maps.add(volume["configMap"]["name"])
        if "secret" in volume:
            secrets.add(volume["secret"]["secretName"])
    for container in containers(template):
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                secrets.add(source["secretKeyRef"]["name"])
            if "configMapKeyRef" in source:
                maps.add(source["configMapKeyRef"]["name"])
        for source in container.get("envFrom", []):
            secrets.add(source["secretRef"]["name"])
    return maps, secrets


def default_kind(manifest: Manifest, path: str) -> str:
    """The kind of a reference that names none."""
    if path.endswith("backendRefs"):
        return "Service"
    if path.endswith("parentRefs"):
        return "Gateway"
    if manifest["kind"] == "ScaledObject":
        return "Deployment"
    raise AssertionError(f"{path} names no kind")


def check_place(test: unittest.TestCase, found: Manifest, reference: dict[str, Any]) -> None:
    """A reference to a part of something names a part that is there."""
    if "port" in reference:
        test.assertIn(reference["port"], [port["port"] for port in found["spec"]["ports"]])
    if "sectionName" in reference:
        parts = found["spec"].get("listeners", found["spec"].get("ports", []))
        test.assertIn(reference["sectionName"], [part["name"] for part in parts])


if __name__ == "__main__":
    unittest.main()
