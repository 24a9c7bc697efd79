"""One run of a pipeline, as a process: `python -m tests.ray.drive FOLDER [--MODE] [KEY=VALUE ...]`. Every task goes to the executor, however small."""

import json
import sys
from pathlib import Path

from gristmill import Pipeline
from gristmill.core.errors import GristmillError, Stopped
from gristmill.engine import run as engine_run


def drive(folder, *overrides):
    engine_run.INLINE_BYTES = 0
    mode, overrides = (
        (overrides[0][2:], overrides[1:]) if overrides[:1] and overrides[0][:2] == "--" else ("forward", overrides)
    )
    try:
        report = Pipeline.from_file(Path(folder) / "gristmill.yml", overrides=overrides).run(mode=mode)
    except (GristmillError, Stopped) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(report.to_json()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(drive(*sys.argv[1:]))
