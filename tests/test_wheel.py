"""The wheel: what a user gets from pip holds everything a first run needs, and nothing of the workshop."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.examples import SOAK

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_is_pure_small_and_holds_the_package_only(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < 2_000_000
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "gristmill/py.typed" in names
    assert "gristmill/engine/run.py" in names
    assert {"gristmill/report/templates/style.css", "gristmill/ui/templates/ui.html"} <= set(names)
    assert {name.split("/")[0] for name in names} == {"gristmill", "gristmill-0.1.0.dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def take_compiled(kernels):
    """Let the wheel's kernels be those that are compiled here: the same sources, with their times, by which Numba tells. The soak compiles them."""
    for path in (ROOT / "src" / "gristmill" / "kernels").glob("*.py"):
        os.utime(kernels / path.name, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        for made in path.parent.glob(f"__pycache__/{path.stem}.*.nb[ic]"):
            shutil.copyfile(made, kernels / "__pycache__" / made.name)


@pytest.mark.slice
def test_plain_pip_installs_the_wheel_and_init_check_run_verify_work_from_it(wheel, tmp_path):
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"} | {"PYTHONPATH": str(target)}
    if not SOAK:
        take_compiled(target / "gristmill" / "kernels")
    where = "import gristmill; print(gristmill.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert str(target) in found.stdout
    for verb in (["init", "."], ["check"], ["run"], ["verify"]):
        done = subprocess.run(
            [sys.executable, "-m", "gristmill", *verb],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{verb}: {done.stdout[-1000:]}{done.stderr[-1000:]}"
    assert (tmp_path / "gristmill.yml").exists()
    assert list(tmp_path.glob("*/runs/1/report.html"))
