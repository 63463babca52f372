"""The bill of materials that `make sbom` writes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[2]


class BillOfMaterials(unittest.TestCase):
    def test_it_fits_the_schema_and_names_what_is_linked(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "plazo.cdx.json"
            subprocess.run(
                [sys.executable, str(ROOT / ".config/scripts/sbom"), str(path)],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            text = path.read_text()
        self.assertIsNone(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text))
        bill = json.loads(text)
        components = {each["bom-ref"]: each for each in bill["components"]}
        self.assertEqual(len(components), len(bill["components"]), "each once")
        names = {each["name"] for each in bill["components"]}
        self.assertLessEqual({"plazo-timer", "plazo-domain", "tokio", "sqlx", "redis"}, names)
        # Tests alone need it.
        self.assertNotIn("proptest", names)
        for each in bill["components"]:
            self.assertTrue(each["licenses"], each["name"])
            if "purl" in each:
                self.assertEqual(len(each["hashes"][0]["content"]), 64, each["name"])
            else:
                self.assertTrue(each["name"].startswith("plazo"), each["name"])
        known = set(components) | {bill["metadata"]["component"]["bom-ref"]}
        for each in bill["dependencies"]:
            self.assertLessEqual({each["ref"], *each["dependsOn"]}, known)


if __name__ == "__main__":
    unittest.main()
