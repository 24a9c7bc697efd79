"""Kubernetes and Slurm: the manifests say what they must, and the scripts make the snapshot that one `run` makes."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tests.deploy.warm import begun, ended, stand_in
from tests.engine.test_seams import opened, project
from tests.examples import some

from gristmill import Dataset
from gristmill.testing import crash

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES, SLURM = ROOT / "examples" / "kubernetes", ROOT / "examples" / "slurm"
TRIED = some(["kubernetes", "slurm"], 1)
FILLED = {"NAME": "1-read", "PARTS": "4", "COMMAND": "exec gristmill stage plan"}


def manifests():
    for path in sorted(KUBERNETES.glob("*.yaml")):
        text = path.read_text("utf-8")
        if path.name == "stage.yaml":
            for word, value in FILLED.items():
                assert word in text
                text = text.replace(word, value)
        for document in YAML(typ="safe").load_all(text):
            yield path.name, document


def pods(tree):
    """Give every pod that a manifest makes."""
    if isinstance(tree, dict):
        if "containers" in tree:
            yield tree
        for value in tree.values():
            yield from pods(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from pods(value)


def test_every_manifest_is_of_a_kind_that_is_known():
    kinds = {(name, document["apiVersion"], document["kind"]) for name, document in manifests()}
    assert kinds == {
        ("storage.yaml", "v1", "PersistentVolumeClaim"),
        ("daily.yaml", "batch/v1", "CronJob"),
        ("stage.yaml", "batch/v1", "Job"),
        ("rayjob.yaml", "ray.io/v1", "RayJob"),
    }
    assert sum(len(list(pods(document))) for _, document in manifests()) == 5


@pytest.mark.parametrize("pod", [pod for _, document in manifests() for pod in pods(document)])
def test_a_pod_has_no_rights_it_does_not_need(pod):
    around = pod["securityContext"]
    assert around["runAsNonRoot"] is True
    assert (around["runAsUser"], around["runAsGroup"]) == (65532, 65532)
    assert around["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        inside = container["securityContext"]
        assert inside["allowPrivilegeEscalation"] is False
        assert inside["readOnlyRootFilesystem"] is True
        assert inside["capabilities"] == {"drop": ["ALL"]}
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]
        assert limits == requests  # what the cgroup says is what the scheduler gave
        assert {"cpu", "memory"} <= set(limits)
        image, _, tag = container["image"].partition(":")
        assert image == "gristmill"
        assert tag not in {"", "latest"}
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert "/tmp" in mounts  # the root is read-only
    assert all("hostPath" not in volume for volume in pod["volumes"])
    assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))


def test_what_cannot_get_better_is_not_tried_again():
    for name, document in manifests():
        if document["kind"] in {"Job", "CronJob"}:
            spec = document["spec"] if document["kind"] == "Job" else document["spec"]["jobTemplate"]["spec"]
            rule = spec["podFailurePolicy"]["rules"][0]
            assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [2, 3]), name


@pytest.fixture(scope="module")
def warm():
    """Give the socket of a process that does `gristmill` without the start of one."""
    folder = Path(tempfile.mkdtemp(prefix="gm-warm-"))
    server = begun(folder)
    yield folder / "socket"
    ended(server)
    shutil.rmtree(folder)


def tools(folder, warm, **scripts):
    """Make a folder with commands: `gristmill` as it is here, and what stands in for a scheduler's."""
    folder.mkdir()
    commands = {"gristmill": ["-S", "-E", ROOT / "tests/deploy/warm.py", warm], "python3": []}
    commands |= {name: [path] for name, path in scripts.items()}
    for name, words in commands.items():
        stand_in(folder / name, words)
    return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def in_one(folder):
    assert opened(project(folder)).run(workers=1).status == "published"
    return crash.lasting(folder, "corpus", ["out"])


@pytest.mark.slice
@pytest.mark.skipif("slurm" not in TRIED, reason="the other scheduler's turn; both in the soak")
def test_slurm_makes_what_a_run_makes_though_a_task_dies(tmp_path, warm):
    """The first time a task of an array dies: nothing behind it runs. The second time all is gone on with."""
    folder, state = project(tmp_path / "parts"), tmp_path / "slurm"
    state.mkdir()
    (state / "kill").write_text("identity 2")
    env = tools(tmp_path / "bin", warm, sbatch=ROOT / "tests/deploy/fake_slurm.py") | {"FAKE_SLURM": str(state)}

    def submit():
        done = subprocess.run(
            ["bash", str(SLURM / "submit.sh"), "2"], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + (state / "output.log").read_text()
        return [(state / f"job-{n + 1}").read_text() for n in range(len(list(state.glob("job-*"))))]

    assert submit() == ["COMPLETED", "COMPLETED", "FAILED", "FAILED", "FAILED", "FAILED", "FAILED"]
    assert not (folder / "corpus/runs/1/manifest.json").exists()
    assert submit()[7:] == ["COMPLETED"] * 7
    assert crash.lasting(folder, "corpus", ["out"]) == in_one(tmp_path / "whole")
    assert Dataset(folder / "corpus").seqs() == [1]


@pytest.mark.slice
@pytest.mark.skipif("kubernetes" not in TRIED, reason="the other scheduler's turn; both in the soak")
def test_kubernetes_makes_what_a_run_makes(tmp_path, warm):
    folder, state = project(tmp_path / "parts"), tmp_path / "cluster"
    state.mkdir()
    env = tools(tmp_path / "bin", warm, kubectl=ROOT / "tests/deploy/fake_kubectl.py") | {"FAKE_KUBECTL": str(state)}
    for said in ('"status":"published"', '"status":"nothing_new"'):
        done = subprocess.run(
            ["sh", str(KUBERNETES / "run.sh"), "1"], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert said in done.stdout.replace(" ", "")
    assert crash.lasting(folder, "corpus", ["out"]) == in_one(tmp_path / "whole")


@pytest.mark.skipif(
    shutil.which("shellcheck") is None, reason="no ShellCheck on this machine: `make debian` installs it"
)
def test_shell_scripts_are_clean():
    scripts = [KUBERNETES / "run.sh", *sorted(SLURM.iterdir())]
    subprocess.run(["shellcheck", *map(str, scripts)], check=True)
