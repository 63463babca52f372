"""The services' configuration files, as the overlays have them."""

from __future__ import annotations

import tomllib
from typing import Any

from manifests import named, rendered


def text(overlay: str, service: str) -> str:
    """The file that a service's pods read."""
    spec = named(rendered(overlay), "Deployment", service)["spec"]["template"]["spec"]
    (name,) = (
        volume["configMap"]["name"] for volume in spec["volumes"] if volume["name"] == "config"
    )
    data: dict[str, str] = named(rendered(overlay), "ConfigMap", name)["data"]
    return data[f"{service}.toml"]


def parsed(overlay: str, service: str) -> dict[str, Any]:
    """The same, read."""
    return tomllib.loads(text(overlay, service))


def drain_ms(overlay: str, service: str) -> int:
    """How long calls may go on after a service was told to end."""
    grace: int = parsed(overlay, service)["server"]["shutdown_grace_ms"]
    return grace
