"""The network lets through what is needed, and nothing else."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from urllib.parse import urlsplit

from configuration import parsed
from manifests import WHOLE, Manifest, by_kind, named, rendered, selects, title, workloads
from repository import DATABASE_SERVICES, PORTS, SERVICES

# Whoever is not a pod of the namespace, as policies name him.
GATEWAY = "pods of envoy-gateway-system"
PROMETHEUS = "prometheus of monitoring"
COLLECTOR = "opentelemetry-collector of monitoring"
DNS = "kube-dns of kube-system"
Way = tuple[str, str, int]


def everything(overlay: str) -> list[Manifest]:
    """The overlay with its jobs."""
    return [*rendered(overlay), *rendered(f"{overlay}/migrate"), *rendered(f"{overlay}/load")]


def pods(overlay: str) -> dict[str, dict[str, str]]:
    """The labels of the pods of each workload."""
    return {
        workload["metadata"]["name"]: template["metadata"]["labels"]
        for workload, template in workloads(everything(overlay))
    }


def outside(peer: Manifest) -> str:
    """How a peer that is no pod of the namespace is called here."""
    if "ipBlock" in peer:
        return str(peer["ipBlock"]["cidr"])
    namespace = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    labels = peer["podSelector"]["matchLabels"]
    name = labels.get("app.kubernetes.io/name") or labels.get("k8s-app") or "pods"
    return f"{name} of {namespace}"


def allowed(overlay: str, direction: str) -> set[Way]:
    """What policies allow in one direction: pod, peer, port."""
    labelled = pods(overlay)
    ways = set()
    for policy in by_kind(everything(overlay), "NetworkPolicy"):
        spec = policy["spec"]
        ours = [name for name, labels in labelled.items() if selects(spec["podSelector"], labels)]
        if not ours:
            raise AssertionError(f"{title(policy)} of {overlay} is for nobody")
        for rule in spec.get(direction, []):
            peers = rule["from" if direction == "ingress" else "to"]
            for peer in peers:
                for name in matching(peer, labelled):
                    for port in rule["ports"]:
                        ways |= {(pod, name, port["port"]) for pod in ours if pod != name}
    return ways


def matching(peer: Manifest, labelled: dict[str, dict[str, str]]) -> Iterator[str]:
    """The pods of the namespace that a peer means, or what it means outside."""
    if "ipBlock" in peer or "namespaceSelector" in peer:
        yield outside(peer)
        return
    for name, labels in labelled.items():
        if selects(peer["podSelector"], labels):
            yield name


def calls() -> Iterator[Way]:
    """Which service calls which at which port, by the configuration."""
    for service in SERVICES:
        for section in parsed("production", service).values():
            if isinstance(section, dict) and "endpoint" in section:
                callee = str(urlsplit(section["endpoint"]).hostname)
                yield service, callee, PORTS[callee]


def stores(overlay: str) -> Iterator[Way]:
    """Who calls which store."""
    if overlay == "development":
        postgres, redis, redis_ports = "postgres", "redis", [6379]
    else:
        site = {
            "postgres": named(rendered(overlay), "NetworkPolicy", "postgres-callers"),
            "redis": named(rendered(overlay), "NetworkPolicy", "redis-callers"),
        }
        blocks = {
            name: policy["spec"]["egress"][0]["to"][0]["ipBlock"]["cidr"]
            for name, policy in site.items()
        }
        postgres, redis = blocks["postgres"], blocks["redis"]
        # Sentinels are asked too.
        redis_ports = [6379, 26379]
    for service in DATABASE_SERVICES:
        yield service, postgres, 5432
        yield f"migrate-{service}", postgres, 5432
    for pod in ("timer", "load"):
        for port in redis_ports:
            yield pod, redis, port


class NetworkTest(unittest.TestCase):
    """Both whole overlays, with their jobs."""

    def test_nothing_passes_by_default(self) -> None:
        for overlay in WHOLE:
            deny = named(rendered(overlay), "NetworkPolicy", "default-deny")["spec"]
            self.assertEqual(deny["podSelector"], {})
            self.assertEqual(set(deny["policyTypes"]), {"Ingress", "Egress"})
            self.assertNotIn("ingress", deny)
            self.assertNotIn("egress", deny)

    def test_each_policy_says_what_it_restricts(self) -> None:
        for overlay in WHOLE:
            for policy in by_kind(everything(overlay), "NetworkPolicy"):
                spec = policy["spec"]
                if policy["metadata"]["name"] == "default-deny":
                    continue
                for direction in ("ingress", "egress"):
                    for rule in spec.get(direction, []):
                        # Without peers or ports a rule would mean everything.
                        self.assertTrue(rule["from" if direction == "ingress" else "to"])
                        self.assertTrue(rule["ports"], title(policy))
                        self.assertIn(direction.capitalize(), spec["policyTypes"])

    def test_what_goes_out(self) -> None:
        for overlay in WHOLE:
            needed = {*calls(), *stores(overlay)}
            needed |= {(pod, DNS, 53) for pod in pods(overlay)}
            needed |= {(service, COLLECTOR, 4317) for service in SERVICES}
            # Providers, endpoints of webhooks, and mail servers.
            needed |= {("notification", "0.0.0.0/0", port) for port in (443, 465, 587)}
            if overlay == "production":
                (policy,) = (
                    each
                    for each in by_kind(rendered(overlay), "NetworkPolicy")
                    if each["metadata"]["name"] == "identity-callers"
                )
                block = policy["spec"]["egress"][0]["to"][0]["ipBlock"]["cidr"]
                needed |= {(service, block, 443) for service in SERVICES}
            self.assertEqual(allowed(overlay, "egress"), needed, overlay)

    def test_what_comes_in(self) -> None:
        for overlay in WHOLE:
            callers = {*calls()}
            if overlay == "development":
                callers |= set(stores(overlay))
            needed = {(callee, caller, port) for caller, callee, port in callers}
            needed |= {(service, GATEWAY, port) for service, port in PORTS.items()}
            needed |= {(service, PROMETHEUS, port + 4000) for service, port in PORTS.items()}
            needed |= {("notification", GATEWAY, 8003)}
            self.assertEqual(allowed(overlay, "ingress"), needed, overlay)

    def test_private_networks_are_out_of_reach_for_what_is_sent_out(self) -> None:
        for overlay in WHOLE:
            policy = named(rendered(overlay), "NetworkPolicy", "notification")
            (block,) = (
                peer["ipBlock"]
                for rule in policy["spec"]["egress"]
                for peer in rule["to"]
                if "ipBlock" in peer
            )
            for private in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"):
                self.assertIn(private, block["except"])


if __name__ == "__main__":
    unittest.main()
