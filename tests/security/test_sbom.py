"""The bill of materials says what is locked, as CycloneDX 1.6 has it."""

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
from tests.security import sbom

ROOT = Path(__file__).resolve().parents[2]
PURL = r"^pkg:pypi/[a-z0-9]+(-[a-z0-9]+)*@[^\s/@]+$"
# What the specification says of the parts that are used here (CycloneDX 1.6, JSON); nothing else may stand in them.
RULES = {
    "type": "object",
    "required": ["bomFormat", "specVersion", "serialNumber", "version", "metadata", "components", "dependencies"],
    "properties": {
        "$schema": {"const": "http://cyclonedx.org/schema/bom-1.6.schema.json"},
        "bomFormat": {"const": "CycloneDX"},
        "specVersion": {"const": "1.6"},
        "serialNumber": {"pattern": "^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
        "version": {"type": "integer", "minimum": 1},
        "metadata": {
            "type": "object",
            "required": ["timestamp", "component", "tools"],
            "properties": {
                "timestamp": {"pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
                "component": {"type": "object", "required": ["type", "name", "bom-ref", "purl"]},
                "tools": {"type": "object", "required": ["components"]},
            },
            "additionalProperties": False,
        },
        "components": {
            "type": "array",
            "uniqueItems": True,
            "items": {
                "type": "object",
                "required": ["type", "name", "version", "purl", "bom-ref", "scope", "hashes"],
                "properties": {
                    "type": {"const": "library"},
                    "name": {"type": "string", "minLength": 1},
                    "version": {"type": "string", "minLength": 1},
                    "bom-ref": {"type": "string", "minLength": 1},
                    "purl": {"pattern": PURL},
                    "scope": {"enum": ["required", "optional", "excluded"]},
                    "hashes": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["alg", "content"],
                            "properties": {"alg": {"const": "SHA-256"}, "content": {"pattern": "^[a-f0-9]{64}$"}},
                            "additionalProperties": False,
                        },
                    },
                    "properties": {"type": "array", "items": {"type": "object", "required": ["name", "value"]}},
                },
                "additionalProperties": False,
            },
        },
        "dependencies": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["ref"],
                "properties": {"ref": {"type": "string"}, "dependsOn": {"type": "array", "uniqueItems": True}},
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("sbom") / "dist" / "sbom.json"
    sbom.write(path)
    return json.loads(path.read_text("utf-8"))


def test_it_holds_what_the_specification_asks(made):
    jsonschema.Draft7Validator(RULES).validate(made)
    refs = [made["metadata"]["component"]["bom-ref"], *(component["bom-ref"] for component in made["components"])]
    assert len(set(refs)) == len(refs), "a bom-ref stands once"
    assert {link["ref"] for link in made["dependencies"]} == set(refs)
    assert {to for link in made["dependencies"] for to in link["dependsOn"]} <= set(refs)


def test_it_names_every_pin_of_the_lock_with_its_hashes_and_nothing_else(made):
    text = (ROOT / "requirements.lock").read_text("utf-8")
    pins = {
        sbom.named(name): version
        for name, version in re.findall(r"^([\w.-]+)(?:\[.*?\])?==([^\s;\\]+)", text, re.MULTILINE)
    }
    assert {one["name"]: one["version"] for one in made["components"]} == pins
    assert sum(len(one["hashes"]) for one in made["components"]) == text.count("--hash=sha256:")


def test_what_runs_is_told_from_what_only_develops(made):
    scope = {one["name"]: one["scope"] for one in made["components"]}
    assert {
        scope[name] for name in ("pyarrow", "deltalake", "numba", "llvmlite", "sqlalchemy", "aiohttp", "ray", "apprise")
    } == {"required"}
    assert {scope[name] for name in ("pytest", "mypy", "ruff", "hypothesis", "moto")} == {"optional"}
    assert {
        one["name"]: one["scope"]
        for one in made["components"]
        if {"name": "gristmill:use", "value": "runtime"} in one["properties"]
    } == {name: said for name, said in scope.items() if said == "required"}


def test_the_same_lock_gives_the_same_bytes(tmp_path, made):
    sbom.write(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == made


def test_a_line_of_the_lock_that_is_not_understood_is_no_component_left_out():
    with pytest.raises(ValueError, match="not understood"):
        sbom.locked("a==1 \\\n    --hash=sha256:" + "0" * 64 + "\nb @ file:///x\n")


def test_make_sbom_makes_it():
    shown = subprocess.run(["make", "-n", "sbom"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "tests.security.sbom" in shown
