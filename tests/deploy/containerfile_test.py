"""The container file: linted, and what can be tried of it without an engine."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import tomllib
import unittest
from pathlib import Path

from manifests import OVERLAYS, containers, rendered, workloads
from repository import DEPLOY, ROOT, SERVICES, run, tool

FILE = DEPLOY / "Containerfile"
COPIED = ("Cargo.toml", "Cargo.lock", "libs", "proto", "services", "tests")


class ContainerfileTest(unittest.TestCase):
    """Text, and the stage that sets dependencies apart."""

    def setUp(self) -> None:
        self.text = FILE.read_text()

    def test_hadolint_finds_nothing(self) -> None:
        run(tool("hadolint"), "--failure-threshold", "style", FILE)

    def test_hadolint_would_find_something(self) -> None:
        broken = self.text.replace("rust:1", "rust:latest AS x\nRUN cd /tmp\nFROM rust:1")
        outcome = subprocess.run(
            [tool("hadolint"), "-"], input=broken, capture_output=True, text=True, check=False
        )
        self.assertNotEqual(outcome.returncode, 0)

    def test_images_are_named_by_version_and_the_last_is_small_and_without_root(self) -> None:
        images = [each for each in re.findall(r"^FROM (\S+)", self.text, re.MULTILINE)]
        outside = [each for each in images if ":" in each]
        self.assertEqual(len(outside), 2)
        for image in outside:
            self.assertNotIn("latest", image)
        self.assertRegex(images[-1], r"^gcr.io/distroless/cc-debian12:nonroot")
        last = self.text[self.text.rindex("\nFROM ") :]
        self.assertIn("USER 65532:65532", last)
        self.assertNotIn("RUN ", last)

    def test_the_compiler_is_new_enough(self) -> None:
        package = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
        (version,) = re.findall(r"^FROM rust:(\d+\.\d+)", self.text, re.MULTILINE)
        needed = tuple(int(part) for part in package["rust-version"].split("."))
        self.assertGreaterEqual(tuple(int(part) for part in version.split(".")), needed)

    def test_the_build_is_locked_and_has_every_program_that_is_started(self) -> None:
        for line in re.findall(r"cargo build [^\n]*", self.text):
            self.assertIn("--locked", line)
        started = {
            container["command"][0]
            for overlay in OVERLAYS
            for _, template in workloads(rendered(overlay))
            for container in containers(template)
            if container["image"].rpartition("/")[2].startswith("plazo:")
        }
        programs = {"plazo", *(f"plazo-{service}" for service in SERVICES)}
        self.assertEqual(started, {f"/usr/local/bin/{program}" for program in programs})
        for program in programs:
            self.assertRegex(self.text, rf"target/release/{program}\b")

    def test_images_have_the_version_of_the_programs(self) -> None:
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"][
            "version"
        ]
        for overlay in OVERLAYS:
            for _, template in workloads(rendered(overlay)):
                for container in containers(template):
                    name, _, tag = container["image"].rpartition(":")
                    if name.rpartition("/")[2] == "plazo":
                        self.assertEqual(tag, version)

    def test_empty_sources_make_a_workspace(self) -> None:
        """The commands of the stage `manifests`, on a copy; cargo must find all that the real
        sources have."""
        (command,) = re.findall(r"AS manifests\nCOPY \. \.\nRUN (.*?)\n\n", self.text, re.DOTALL)
        with tempfile.TemporaryDirectory() as folder:
            for name in COPIED:
                source, target = ROOT / name, Path(folder) / name
                if source.is_dir():
                    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, target)
            run("bash", "-ec", command, cwd=folder)
            arguments = ("cargo", "metadata", "--locked", "--offline", "--format-version", "1")
            run(*arguments, "--no-deps", cwd=folder)
            self.assertTrue((Path(folder) / "libs/proto/build.rs").read_text())
            self.assertEqual((Path(folder) / "libs/domain/src/lib.rs").read_text(), "")
            left = {path.name for path in Path(folder).rglob("*") if path.is_file()}
            self.assertFalse({name for name in left if name.endswith((".sql", ".proto", ".lua"))})


if __name__ == "__main__":
    unittest.main()
