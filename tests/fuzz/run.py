"""One target under atheris: `python -m tests.fuzz.run TARGET CORPUS [libFuzzer options]`."""

import importlib
import sys

import atheris


def main() -> None:
    """Fuzz until the time is up or something does not hold."""
    name, arguments = sys.argv[1], [sys.argv[0], *sys.argv[2:]]
    # Kernels are compiled from their bytecode, which must stay as it is; the libraries below are not ours to cover.
    with atheris.instrument_imports(include=["gristmill"], exclude=["gristmill.kernels", "gristmill.testing"]):
        target = importlib.import_module(f"tests.fuzz.{name}")
    atheris.Setup(arguments, lambda data: target.one(bytes(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
