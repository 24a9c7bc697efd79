# gristmill: the commands that must always work from a clean clone with only Python >= 3.11, make and the package index.
# `.venv` is made by itself: with uv where it is installed, else with venv + pip, always from the hashed lock.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	if $$p -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 14)))' 2>/dev/null; then echo $$p; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

RIVALS := .venv-rivals
AIRFLOW := .venv-airflow
FUZZ := .venv-fuzz

# Some hundred Pythons are started by the tests: what one has compiled the next need not, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check bench soak sbom lock clean setup debian

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "gristmill needs Python 3.11, 3.12 or 3.13 on the PATH; found none (or: make PYTHON=/path/to/python3.12)" >&2; exit 1; }
	@rm -rf $(VENV)
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV) && \
		VIRTUAL_ENV=$(VENV) uv pip install --quiet --require-hashes -r requirements.lock && \
		VIRTUAL_ENV=$(VENV) uv pip install --quiet --no-deps --no-build-isolation -e . ; \
	else \
		$(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@touch $@

setup: $(STAMP)

# Programs that some tests run and no Python package brings; without them those tests are skipped, and say so.
DEBIAN := mariadb-server-core mariadb-client-core chromium prometheus shellcheck
debian:
	@command -v apt-get >/dev/null || { echo "make debian: there is no apt-get here; install these by other means: $(DEBIAN)" >&2; exit 1; }
	@as=; test "$$(id -u)" = 0 || as=sudo; $$as apt-get update -qq && \
		$$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(DEBIAN)

demo: $(STAMP)
	@$(BIN)/python examples/demo.py

# What `make check` runs; a plain `pytest` runs them too.
CHECKED := tests/test_house.py tests/test_docs.py

# The tests' folders lie in memory where it has room for them (8 GB, of which 1.5 are used): a third of a small run is waiting
# for a disk. What a suite that failed has left stays there. While kernels are compiled, the tests' modules are, for all workers.
ROOM = $(shell { test "$$(df -k --output=avail /dev/shm | tail -1)" -gt 8000000 && \
	awk '/^MemAvailable/ {exit !($$2 > 8000000)}' /proc/meminfo && echo /dev/shm; } 2>/dev/null)
test: $(STAMP) $(AIRFLOW)/.installed
	@$(BIN)/python -m gristmill warmup > /dev/null & \
		$(BIN)/python -m pytest -q --collect-only > /dev/null; wait $$!
	@folder=$$(mktemp -d -p "$(or $(ROOM),$${TMPDIR:-/tmp})" gristmill-XXXX) && \
		TMPDIR="$$folder" $(BIN)/python -m pytest -q -n auto --dist worksteal $(CHECKED:%=--ignore %) && rm -rf "$$folder"

check: $(STAMP)
	@$(BIN)/ruff format --check src tests bench examples
	@$(BIN)/ruff check src tests bench examples
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q $(CHECKED)

# What the benchmarks are measured beside lives apart: its dependencies are not ours.
$(RIVALS)/.installed: bench/rivals.lock
	@rm -rf $(RIVALS)
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(RIVALS) && \
		VIRTUAL_ENV=$(RIVALS) uv pip install --quiet --require-hashes -r bench/rivals.lock ; \
	else \
		$(PYTHON) -m venv $(RIVALS) && \
		$(RIVALS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bench/rivals.lock ; \
	fi
	@touch $@

# Airflow lives in an environment of its own, in the tests too; gristmill's DAG factory is all that it sees of ours.
$(AIRFLOW)/.installed: tests/airflow/airflow.lock
	@rm -rf $(AIRFLOW)
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(AIRFLOW) && \
		VIRTUAL_ENV=$(AIRFLOW) uv pip install --quiet --require-hashes -r tests/airflow/airflow.lock ; \
	else \
		$(PYTHON) -m venv $(AIRFLOW) && \
		$(AIRFLOW)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/airflow/airflow.lock ; \
	fi
	@touch $@

bench: $(STAMP) $(RIVALS)/.installed
	@$(BIN)/python -m bench

# The fuzzer has an environment of its own; it looks at the code and the libraries of the other one.
$(FUZZ)/.installed: tests/fuzz/fuzz.lock
	@rm -rf $(FUZZ)
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(FUZZ) && \
		VIRTUAL_ENV=$(FUZZ) uv pip install --quiet --require-hashes -r tests/fuzz/fuzz.lock ; \
	else \
		$(PYTHON) -m venv $(FUZZ) && \
		$(FUZZ)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/fuzz/fuzz.lock ; \
	fi
	@touch $@

# Rooms and readers that have had their count are passed over; SOAK and FUZZED are for less, as SOAK="--only limits" FUZZED="csv --seconds 60".
SOAK ?= --resume
FUZZED ?= --seconds 3600 --jobs 2
soak: $(STAMP) $(FUZZ)/.installed
	@$(BIN)/python -m tests.soak $(SOAK)
	@PYTHONPATH="$(CURDIR)/src:$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
		$(FUZZ)/bin/python -m tests.fuzz $(FUZZED)

# What is in it: a CycloneDX bill of materials of the lock, made without a network.
sbom: $(STAMP)
	@$(BIN)/python -m tests.security.sbom

# The lock is made with uv and committed; no index host may stand in it.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --all-extras pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header bench/rivals.in -o bench/rivals.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --extra sql --extra web --extra stores --extra dlt --extra ray --extra alerts --extra lineage --extra metrics --extra ui -c requirements.lock pyproject.toml requirements-image.in -o requirements-image.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header tests/airflow/airflow.in -o tests/airflow/airflow.lock

clean:
	rm -rf $(VENV) $(RIVALS) $(AIRFLOW) $(FUZZ) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
