"""What stands in for `kubectl`: runs a Job's pods here and now, one after the other.

Knows `apply -f -`, `wait --for=condition=Complete|Failed job/NAME`, `logs job/NAME` and `delete job NAME`. FAKE_KUBECTL names the folder with its state.
"""

import os
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

STATE = Path(os.environ["FAKE_KUBECTL"])


def apply():
    job = YAML(typ="safe").load(sys.stdin)
    name, spec = job["metadata"]["name"], job["spec"]
    container = spec["template"]["spec"]["containers"][0]
    outputs, well = [], True
    for index in range(spec["completions"]):
        done = subprocess.run(
            [*container["command"], *container["args"]],
            env=os.environ | {"JOB_COMPLETION_INDEX": str(index)},
            stdout=subprocess.PIPE, stderr=sys.stderr, text=True, check=False,
        )  # fmt: skip
        outputs.append(done.stdout)
        well &= done.returncode == 0
    (STATE / name).write_text("".join(outputs))
    (STATE / f"{name}.state").write_text("Complete" if well else "Failed")


def main(verb, *words):
    names = [word.removeprefix("job/") for word in words if word.startswith("job/")]
    if verb == "apply":
        apply()
    elif verb == "wait":
        wanted = next(word.partition("condition=")[2] for word in words if word.startswith("--for="))
        return 0 if (STATE / f"{names[0]}.state").read_text() == wanted else 1
    elif verb == "logs":
        sys.stdout.write((STATE / names[0]).read_text())
    elif verb == "delete":
        (STATE / words[1]).unlink(missing_ok=True)
    return 0


sys.exit(main(*sys.argv[1:]))
