"""Puts a bill of materials into the wheel: CycloneDX in `*.dist-info/sboms/` (PEP 770).

It names what a plain installation brings and the weights in the package. Versions, licences and
hashes of packages come from `build/resolved.json`, the report of pip's that `make wheel` asks for;
without it, packages are named with the versions that are allowed.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BILL: Final = "build/facevoice.cdx.json"
RESOLVED: Final = "build/resolved.json"
_WEIGHTS: Final = Path("src/facevoice/weights")
_LICENSE: Final = "License :: OSI Approved :: "


class BillOfMaterials(BuildHookInterface):
    """Hatchling's hook: see the head of this file."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the bill, and have it packed; nothing for an editable installation."""
        if version == "standard":
            target = Path(self.root) / BILL
            target.parent.mkdir(exist_ok=True)
            target.write_text(json.dumps(make_bill(Path(self.root)), indent=1) + "\n", "utf-8")
            build_data["sbom_files"].append(BILL)


def make_bill(root: Path) -> dict[str, Any]:
    """The bill of the package whose source lies in `root`."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    resolved = root / RESOLVED
    if resolved.is_file():
        found = json.loads(resolved.read_text("utf-8"))["install"]
        packages = [_installed(each) for each in found if each["metadata"]["name"] != "facevoice"]
    else:
        packages = [_declared(each) for each in project["dependencies"]]
    index = json.loads((root / _WEIGHTS / "index.json").read_text("utf-8"))
    weights = [_weights(name, entry) for name, entry in index.items()]
    components = sorted([*packages, *weights], key=lambda component: component["bom-ref"])
    me = {
        "type": "library",
        "bom-ref": "facevoice",
        "name": "facevoice",
        "version": project["version"],
        "purl": f"pkg:pypi/facevoice@{project['version']}",
        "licenses": [{"expression": project["license"]}],
    }
    needs = [component["bom-ref"] for component in components]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": me},
        "components": components,
        "dependencies": [{"ref": "facevoice", "dependsOn": needs}],
    }


def _installed(found: dict[str, Any]) -> dict[str, Any]:
    """A package that pip would install: its name, version, licence and the file's hash only."""
    metadata = found["metadata"]
    name, version = re.sub(r"[-_.]+", "-", metadata["name"]).lower(), metadata["version"]
    component = {
        "type": "library",
        "bom-ref": name,
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
    }
    if sha256 := found["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256"):
        component["hashes"] = [{"alg": "SHA-256", "content": sha256}]
    if licenses := _licenses(metadata):
        component["licenses"] = licenses
    return component


def _licenses(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    if expression := metadata.get("license_expression"):
        return [{"expression": expression}]
    named = [c[len(_LICENSE) :] for c in metadata.get("classifier", ()) if c.startswith(_LICENSE)]
    named = named or [line for line in (metadata.get("license") or "").splitlines()[:1] if line]
    return [{"license": {"name": name}} for name in named]


def _declared(requirement: str) -> dict[str, Any]:
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0].replace("_", "-").lower()
    versions = requirement[len(name) :]
    return {
        "type": "library",
        "bom-ref": name,
        "name": name,
        "purl": f"pkg:pypi/{name}",
        "properties": [{"name": "facevoice:allowed-versions", "value": versions}],
    }


def _weights(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": f"weights/{name}",
        "name": f"facevoice/weights/{entry['file']}",
        "version": entry["sha256"][:12],
        "hashes": [{"alg": "SHA-256", "content": entry["sha256"]}],
        "licenses": [{"license": {"name": entry["license"]}}],
    }
