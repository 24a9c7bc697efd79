"""SEC5: nothing that is read is ever run: no pickle and its kin, no eval, no loader that makes objects of data."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "gristmill"
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "jsonpickle",
    "yaml",
    "torch",
    "copyreg",
    "dbm",
}
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pd.read_pickle", "pandas.read_pickle", "pa.deserialize",
    "pa.serialize", "pyarrow.deserialize", "types.FunctionType", "types.CodeType", "ctypes.pythonapi",
}  # fmt: skip
# Whose name is a harmless method too: `re.compile`, a database's `connection.execute`, ... are not these.


def dotted(node):
    if isinstance(node, ast.Name):
        return node.id
    return f"{left}.{node.attr}" if isinstance(node, ast.Attribute) and (left := dotted(node.value)) else ""


def problems(tree):
    """Give what in a module could run what was read."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        yield from (f"import {name}" for name in names if name.split(".")[0] in MODULES)
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        words = {word.arg: word.value for word in node.keywords}
        if called in CALLS:
            yield f"{called}()"
        if called in {"np.load", "numpy.load"} and getattr(words.get("allow_pickle"), "value", None) is not False:
            yield "np.load without allow_pickle=False"
        if any(
            getattr(value, "value", None) is True for name, value in words.items() if name in {"allow_pickle", "shell"}
        ):
            yield "allow_pickle or shell"
        if called.endswith("YAML") and "typ" in words and getattr(words["typ"], "value", "") != "safe":
            yield "a YAML loader that is not the safe one"
        if called.endswith("YAML") and not (words or node.args):
            yield "a YAML loader that is not the safe one"


def test_nothing_in_the_package_runs_what_was_read():
    found = {
        f"{path.relative_to(SRC)}: {what}"
        for path in SRC.rglob("*.py")
        for what in problems(ast.parse(path.read_text("utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    "text",
    ["import pickle", "from joblib import load", "def f():\n import yaml", "eval(x)", "exec(x)", "np.load(p)", "np.load(p, allow_pickle=True)",
     "run(x, shell=True)", "YAML()", "YAML(typ='unsafe')", "torch.load(x)\nimport torch", "compile(x, '', 'exec')", "pd.read_pickle(x)"],
)  # fmt: skip
def test_the_gate_sees(text):
    assert list(problems(ast.parse(text))) != []


def test_the_gate_lets_pass_what_is_harmless():
    text = "re.compile(x)\nnp.load(p, allow_pickle=False)\nYAML(typ='safe', pure=True)\nconnection.exec(x)\nast.literal_eval(x)\nrun(x, shell=False)"
    assert list(problems(ast.parse(text))) == []


def test_the_linter_refuses_it_too():
    """S301 to S307: pickle, marshal, insecure hashes for secrets, eval; they are errors of `make check`."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in settings["select"]
    assert not [rule for rule in settings["ignore"] if rule.startswith("S3")]
    code = "import pickle, marshal\nA = pickle.loads(b'')\nB = marshal.loads(b'')\nC = eval('1')\n"
    told = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "--output-format", "concise",
         "--stdin-filename", str(SRC / "made_up.py"), "-"],
        input=code, capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    assert {"S301", "S302", "S307"} <= {word for word in told.split() if word.startswith("S30")}
    waived = [
        path for path in SRC.rglob("*.py") if any(f"noqa: S30{n}" in path.read_text("utf-8") for n in range(1, 8))
    ]
    assert waived == []
