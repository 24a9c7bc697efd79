"""The bill of materials: a CycloneDX 1.6 document of what is locked, made without a network from what is committed.

    python -m tests.security.sbom [OUT]          (make sbom: dist/sbom.json)

A component is a pinned distribution of requirements.lock: name, version, purl, the sha256 of every file the lock admits. `required` is
what gristmill or one of its extras needs at run time, `optional` (CycloneDX's word for it) what the `dev` extra alone brings. Which is
which is read from the metadata of the installed distributions, so it is made in the locked environment. Same lock, same bytes: its
time is that of the last commit, its serial number comes from its content.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)(?:\s*;\s*([^\\]*?))?\s*\\?$")


def named(name: str) -> str:
    """Give the one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(text: str) -> list[dict[str, Any]]:
    """Give what a lock pins: name, version, marker, sha256 of its files, in order."""
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        if pinned := LINE.match(line):
            found.append(
                {"name": named(pinned[1]), "version": pinned[2], "marker": (pinned[3] or "").strip(), "hashes": []}
            )
        elif digest := re.match(r"\s+--hash=sha256:([0-9a-f]{64})\b", line):
            found[-1]["hashes"].append(digest[1])
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f"a line of the lock that is not understood: {line[:60]}")
    return found


def project() -> dict[str, Any]:
    """Give the [project] table."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return found


def needs(name: str) -> list[str]:
    """Give what an installed distribution needs, extras of its own aside; nothing for one that is not for this machine."""
    try:
        wanted = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    requirements = [Requirement(one) for one in wanted]
    return [named(one.name) for one in requirements if one.marker is None or "extra" not in str(one.marker)]


def reached(start: Iterable[str]) -> set[str]:
    """Give everything that these need, themselves too."""
    seen: set[str] = set()
    todo = [*start]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += needs(name)
    return seen


def document() -> dict[str, Any]:
    """Give the whole document."""
    told = project()
    extras = told["optional-dependencies"]
    core = [named(Requirement(one).name) for one in told["dependencies"]]
    run_time = reached(
        [*core, *(named(Requirement(one).name) for extra, all_ in extras.items() if extra != "dev" for one in all_)]
    )
    pins = locked((ROOT / "requirements.lock").read_text("utf-8"))
    known = {pin["name"] for pin in pins}
    components = [_component(pin, needed=pin["name"] in run_time) for pin in pins]
    root = f"pkg:pypi/gristmill@{told['version']}"
    refs = {component["name"]: component["bom-ref"] for component in components}
    direct = sorted(
        refs[name]
        for name in {*core, *(named(Requirement(one).name) for all_ in extras.values() for one in all_)} & known
    )
    links = [{"ref": root, "dependsOn": direct}]
    links += [
        {
            "ref": component["bom-ref"],
            "dependsOn": sorted({refs[need] for need in needs(component["name"]) if need in refs}),
        }
        for component in components
    ]
    body = {
        "metadata": {
            "timestamp": _committed(),
            "component": {"type": "application", "bom-ref": root, "name": "gristmill", "version": told["version"], "purl": root,
                          "licenses": [{"license": {"id": told["license"]}}]},
            "tools": {"components": [{"type": "application", "name": "gristmill sbom", "version": told["version"]}]},
        },
        "components": components,
        "dependencies": links,
    }  # fmt: skip
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        **body,
    }


def _component(pin: dict[str, Any], *, needed: bool) -> dict[str, Any]:
    purl = f"pkg:pypi/{pin['name']}@{pin['version']}"
    properties = [{"name": "gristmill:marker", "value": pin["marker"]}] if pin["marker"] else []
    return {
        "type": "library",
        "bom-ref": purl,
        "name": pin["name"],
        "version": pin["version"],
        "purl": purl,
        "scope": "required" if needed else "optional",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(pin["hashes"])],
        "properties": [*properties, {"name": "gristmill:use", "value": "runtime" if needed else "development"}],
    }


def _committed() -> str:
    """Give the time of the last commit, UTC; that of no clock where there is no repository."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%cd"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}
    )
    return done.stdout.strip() or "1970-01-01T00:00:00Z"


def write(path: Path) -> int:
    """Write the document; give the number of its components."""
    made = document()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n", "utf-8")
    return len(made["components"])


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / "sbom.json"
    sys.stdout.write(f"{out}: {write(out)} components\n")
