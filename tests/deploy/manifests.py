"""The rendered manifests."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from repository import DEPLOY, run, tool

OVERLAYS = tuple(
    f"{overlay}{part}"
    for overlay in ("development", "production")
    for part in ("", "/migrate", "/load")
)
# What runs all the time, and so must be all that a policy says.
WHOLE = ("development", "production")
Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> list[Manifest]:
    """The manifests of an overlay, as `kubectl apply -k` would send them."""
    folder = DEPLOY / "kubernetes/overlays" / overlay
    return [each for each in yaml.safe_load_all(run(tool("kubectl"), "kustomize", folder)) if each]


def by_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    """Those of these kinds."""
    return [each for each in manifests if each["kind"] in kinds]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The one of this kind and name."""
    (found,) = (each for each in by_kind(manifests, kind) if each["metadata"]["name"] == name)
    return found


def title(manifest: Manifest) -> str:
    """How a manifest is told of."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def pod_template(manifest: Manifest) -> Manifest | None:
    """The pods that a workload makes."""
    if manifest["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        return manifest["spec"]["template"]
    return None


def workloads(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """The workloads, each with its pods."""
    for manifest in manifests:
        if (template := pod_template(manifest)) is not None:
            yield manifest, template


def containers(template: Manifest) -> list[Manifest]:
    """All containers of a pod, those that run before or beside the others too."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector takes what bears these labels; an empty one takes all."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions", []):
        if expression["operator"] != "In":
            raise AssertionError(f"{expression}: not known to the tests")
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True
