"""What must hold for whatever runs: little right, known limits, and an orderly end."""

from __future__ import annotations

import json
import re
import unittest

from configuration import drain_ms
from manifests import (
    OVERLAYS,
    WHOLE,
    Manifest,
    by_kind,
    containers,
    named,
    rendered,
    selects,
    title,
    workloads,
)
from repository import SERVICES

# What a process needs to end after its drain, in seconds.
END_MARGIN_S = 5
# How long it takes at most until callers no longer choose a replica that goes: they look the name
# up again every 5 s, and the cluster's names are cached for 5 s.
UNLEARN_S = 10


class PolicyTest(unittest.TestCase):
    """All pods of all overlays."""

    def test_pods_have_little_right(self) -> None:
        for overlay in OVERLAYS:
            accounts = {
                each["metadata"]["name"]: each
                for each in by_kind(rendered(overlay), "ServiceAccount")
            }
            for workload, template in workloads(rendered(overlay)):
                with self.subTest(title(workload), overlay=overlay):
                    spec = template["spec"]
                    self.assertIs(spec["automountServiceAccountToken"], False)
                    self.assertIs(spec["enableServiceLinks"], False)
                    account = accounts[spec["serviceAccountName"]]
                    self.assertIs(account["automountServiceAccountToken"], False)
                    security = spec["securityContext"]
                    self.assertIs(security["runAsNonRoot"], True)
                    self.assertGreater(security["runAsUser"], 0)
                    self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"})
                    for key in ("hostNetwork", "hostPID", "hostIPC"):
                        self.assertFalse(spec.get(key))
                    for volume in spec.get("volumes", []):
                        self.assertNotIn("hostPath", volume)
                        # Readable for its group, which the pod's fsGroup is.
                        if "secret" in volume:
                            self.assertEqual(volume["secret"]["defaultMode"], 0o440)
                            self.assertIn("fsGroup", security)

    def test_containers_have_little_right(self) -> None:
        for overlay in OVERLAYS:
            for workload, template in workloads(rendered(overlay)):
                for container in containers(template):
                    with self.subTest(title(workload), overlay=overlay, name=container["name"]):
                        security = container["securityContext"]
                        self.assertIs(security["readOnlyRootFilesystem"], True)
                        self.assertIs(security["allowPrivilegeEscalation"], False)
                        self.assertIs(security["privileged"], False)
                        self.assertIs(security["runAsNonRoot"], True)
                        self.assertEqual(security["capabilities"], {"drop": ["ALL"]})

    def test_containers_have_limits_and_a_known_image(self) -> None:
        for overlay in OVERLAYS:
            for workload, template in workloads(rendered(overlay)):
                for container in containers(template):
                    with self.subTest(title(workload), overlay=overlay, name=container["name"]):
                        for kind in ("requests", "limits"):
                            self.assertEqual(set(container["resources"][kind]), {"cpu", "memory"})
                        image = container["image"]
                        tag = image.rpartition(":")[2] if ":" in image else ""
                        self.assertRegex(tag, r"^\d+\.\d+", image)

    def test_what_runs_all_the_time_is_probed(self) -> None:
        for overlay in OVERLAYS:
            for workload, template in workloads(rendered(overlay)):
                stays = [
                    each
                    for each in containers(template)
                    if workload["kind"] != "Job" or each.get("restartPolicy") == "Always"
                ]
                for container in stays:
                    with self.subTest(title(workload), overlay=overlay, name=container["name"]):
                        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                            self.assertIn(probe, container)

    def test_services_live_independently_of_their_stores(self) -> None:
        for overlay in WHOLE:
            for service in SERVICES:
                deployment = named(rendered(overlay), "Deployment", service)
                (container,) = deployment["spec"]["template"]["spec"]["containers"]
                self.assertEqual(container["livenessProbe"]["grpc"]["service"], "live")
                self.assertEqual(container["startupProbe"]["grpc"]["service"], "live")
                self.assertEqual(container["readinessProbe"]["grpc"]["service"], "ready")

    def test_no_secret_is_written_down(self) -> None:
        for overlay in OVERLAYS:
            self.assertEqual(by_kind(rendered(overlay), "Secret"), [], overlay)
            for manifest in rendered(overlay):
                text = json.dumps(manifest)
                self.assertIsNone(re.search(r"\w+://[^\s/\"]*:[^\s/\"]*@", text), title(manifest))
                self.assertNotIn("PRIVATE KEY", text)
            for workload, template in workloads(rendered(overlay)):
                for container in containers(template):
                    for variable in container.get("env", []):
                        name = variable["name"]
                        if re.search(r"(DATABASE|REDIS)__\w*URL$|PASSWORD$|TOKEN$", name):
                            self.assertNotIn("value", variable, f"{title(workload)} {name}")

    def test_two_replicas_one_of_which_may_go(self) -> None:
        for overlay in WHOLE:
            manifests = rendered(overlay)
            for deployment in by_kind(manifests, "Deployment"):
                with self.subTest(title(deployment), overlay=overlay):
                    self.assertGreaterEqual(fewest_replicas(manifests, deployment), 2)
                    strategy = deployment["spec"]["strategy"]["rollingUpdate"]
                    self.assertEqual(strategy["maxUnavailable"], 0)
                    constraints = deployment["spec"]["template"]["spec"][
                        "topologySpreadConstraints"
                    ]
                    self.assertEqual(
                        [each["topologyKey"] for each in constraints],
                        ["topology.kubernetes.io/zone", "kubernetes.io/hostname"],
                    )
                    labels = deployment["spec"]["template"]["metadata"]["labels"]
                    for constraint in constraints:
                        self.assertTrue(selects(constraint["labelSelector"], labels))
                        self.assertIn("app.kubernetes.io/name", constraint["matchLabelKeys"])

    def test_production_spreads_over_three_zones(self) -> None:
        manifests = rendered("production")
        for deployment in by_kind(manifests, "Deployment"):
            self.assertGreaterEqual(fewest_replicas(manifests, deployment), 3)
            zone = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"][0]
            self.assertEqual((zone["whenUnsatisfiable"], zone["minDomains"]), ("DoNotSchedule", 3))

    def test_disruptions_are_bounded(self) -> None:
        for overlay in WHOLE:
            budgets = by_kind(rendered(overlay), "PodDisruptionBudget")
            for workload, template in workloads(rendered(overlay)):
                labels = template["metadata"]["labels"]
                ours = [each for each in budgets if selects(each["spec"]["selector"], labels)]
                with self.subTest(title(workload), overlay=overlay):
                    self.assertEqual([each["spec"]["maxUnavailable"] for each in ours], [1])

    def test_the_end_is_longer_than_the_drain(self) -> None:
        for overlay in WHOLE:
            for service in SERVICES:
                spec = named(rendered(overlay), "Deployment", service)["spec"]["template"]["spec"]
                (container,) = spec["containers"]
                pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
                self.assertGreaterEqual(pause_s, UNLEARN_S)
                needed_s = pause_s + drain_ms(overlay, service) / 1000 + END_MARGIN_S
                self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], needed_s)

    def test_services_are_found_by_all_their_addresses(self) -> None:
        for overlay in WHOLE:
            manifests = rendered(overlay)
            for service in by_kind(manifests, "Service"):
                with self.subTest(title(service), overlay=overlay):
                    self.assertEqual(service["spec"]["clusterIP"], "None")
                    (workload,) = (
                        template
                        for _, template in workloads(manifests)
                        if selects(
                            {"matchLabels": service["spec"]["selector"]},
                            template["metadata"]["labels"],
                        )
                    )
                    ports = {
                        port["name"]: port["containerPort"]
                        for container in containers(workload)
                        for port in container["ports"]
                    }
                    for port in service["spec"]["ports"]:
                        # A headless service's port is that of its pods.
                        self.assertEqual(ports[port["targetPort"]], port["port"])


def fewest_replicas(manifests: list[Manifest], deployment: Manifest) -> int:
    """How many there are at least, by the deployment or by what scales it; never by both."""
    name = deployment["metadata"]["name"]
    by_scaler = [
        each["spec"].get("minReplicas", each["spec"].get("minReplicaCount"))
        for each in by_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject")
        if each["spec"]["scaleTargetRef"]["name"] == name
    ]
    own = [deployment["spec"]["replicas"]] if "replicas" in deployment["spec"] else []
    (fewest,) = own + by_scaler
    return int(fewest)


if __name__ == "__main__":
    unittest.main()
