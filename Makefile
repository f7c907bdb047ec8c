# Everything a newcomer needs, with nothing but python3, pip and make present.
# Each target first makes .venv when it is missing or older than the lock file.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test soak check bench lock clean

demo: $(READY)
	$(BIN)/mixpl demo

test: $(READY)
	$(BIN)/pytest

# Races between processes, each 40 times; `make test` runs each a few times.
soak: $(READY)
	$(BIN)/pytest -m soak

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks

# The lock holds one version of every package for every supported Python.
lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --upgrade \
		--no-emit-index-url --no-header --no-annotate --quiet --output-file requirements.lock

$(READY): requirements.lock pyproject.toml
	@echo "Making .venv: about 2 to 5 minutes and 7 GB the first time."
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "MixPL needs Python 3.11 or newer, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(READY)

clean:
	rm -rf .venv demo
