"""The four services as processes with the configuration that is shipped, on loopback."""

from __future__ import annotations

from cluster import SeparateServices
from gateway import Endpoint, Files
from repository import DEPLOY, PORTS, SERVICES

# Ports of a cluster: gRPC on the first four, health on these.
HEALTH_OFFSET = 5


class SecuredServices(SeparateServices):
    """Certificates and keys are those of `files`."""

    def __init__(self, files: Files) -> None:
        super().__init__()
        self._files = files

    def endpoint(self, name: str) -> Endpoint:
        """Where a service listens."""
        host, _, port = getattr(self.addresses, name).rpartition(":")
        return host, int(port)

    def _configured(self, name: str) -> str:
        """The shipped file of a service with the addresses and folders of this cluster."""
        text = (DEPLOY / f"kubernetes/base/{name}/{name}.toml").read_text()
        for index, (other, port) in enumerate(PORTS.items()):
            here = self.base_port + index
            text = text.replace(f'"0.0.0.0:{port}"', f'"127.0.0.1:{here}"')
            text = text.replace(f'"https://{other}:{port}"', f'"https://127.0.0.1:{here}"')
            text = text.replace(f'"0.0.0.0:{port + 1000}"', f'"127.0.0.1:{here + HEALTH_OFFSET}"')
            text = text.replace(f'"0.0.0.0:{port + 4000}"', f'"127.0.0.1:{here + 4000}"')
        text = text.replace('"0.0.0.0:8003"', '"127.0.0.1:0"')
        text = text.replace("/var/run/plazo/tls", str(self._files.certificates / name))
        return text.replace("/var/run/plazo/identity", str(self._files.folder / "identity"))

    def _spawn_service(self, name: str) -> None:
        path = self.folder / f"{name}.toml"
        path.write_text(self._configured(name))
        # The file says where they listen and whom they call.
        environment = {
            key: value
            for key, value in self._environment.items()
            if "__DATABASE__" in key or "__REDIS__" in key
        }
        self._services[name] = self.spawn(f"plazo-{name}", ["--config", str(path)], environment)

    def _wait_for_service(self, name: str) -> int:
        port = self.base_port + HEALTH_OFFSET + SERVICES.index(name)
        address = f"127.0.0.1:{port}"
        return self.wait_until_serving(self._services[name], f"plazo-{name}", address)
