"""Where things are in the repository, and which calls exist and need what."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SERVICES = ("ticketing", "timer", "notification", "history")
DATABASE_SERVICES = ("ticketing", "notification", "history")
# Each service's table of calls and permissions.
PERMISSION_FILES = (
    "services/ticketing/src/grpc/permissions.rs",
    "services/timer/src/grpc.rs",
    "services/notification/src/grpc.rs",
    "services/history/src/grpc.rs",
)
# Of gRPC: what each service listens on, in pods and before the gateway.
PORTS = {name: 5001 + index for index, name in enumerate(SERVICES)}


def tool(name: str) -> str:
    """The path of a tool of .config/requirements.txt, or of the system's."""
    found = shutil.which(name, path=f"{ROOT}/target/tools/venv/bin{os.pathsep}{os.environ['PATH']}")
    if found is None:
        raise FileNotFoundError(f"no program `{name}`: run `make setup-test`")
    return found


def run(*arguments: str | Path, **options: Any) -> str:
    """Runs a program and returns its standard output; its error output is part of the failure."""
    outcome = subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    if outcome.returncode != 0:
        raise AssertionError(
            f"{arguments[0]} ended with {outcome.returncode}: {outcome.stdout}{outcome.stderr}"
        )
    return outcome.stdout


def descriptor_set() -> Path:
    """The described protos, with all that they import; .config/scripts/deployment makes it."""
    return ROOT / "target/tools/descriptors.binpb"


@cache
def methods() -> dict[str, str]:
    """The paths of all calls in the protos, each with the service (the process) that serves it."""
    found = {}
    described = FileDescriptorSet.FromString(descriptor_set().read_bytes())
    for file in described.file:
        if not file.package.startswith("plazo."):
            continue
        area = file.package.split(".")[1]
        for service in file.service:
            # Ticketing serves what the timer asks of an owner of tickets.
            process = "ticketing" if service.name == "TicketHandlerService" else area
            for method in service.method:
                found[f"/{file.package}.{service.name}/{method.name}"] = process
    return found


@cache
def permissions() -> dict[str, frozenset[str]]:
    """What each call needs, one of it, as the services' own tables say."""
    needed: dict[str, frozenset[str]] = {}
    for name in PERMISSION_FILES:
        source = re.sub(r"//[^\n]*", "", (ROOT / name).read_text())
        constants = {
            constant: _names(value)
            for constant, value in re.findall(
                r"const (\w+): &\[Permission\] = &\[(.*?)\];", source, re.DOTALL
            )
        }
        entries = re.findall(r'\(\s*"(/plazo[^"]+)",\s*(&\[[^\]]*\]|\w+)\s*,?\s*\)', source)
        for path, value in entries:
            needed[path] = constants[value] if value in constants else _names(value)
    return needed


def _names(source: str) -> frozenset[str]:
    return frozenset(re.findall(r"Permission::(\w+)", source))


def public_methods() -> set[str]:
    """The calls that somebody outside may make: those that need not be a service's."""
    return {path for path, needed in permissions().items() if needed != {"Service"}}
