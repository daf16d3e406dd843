# `make demo` and `make test` set everything up themselves; a changed pyproject.toml installs again.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint ui
demo: $(READY)
	$(BIN)/bel-data synth --layout biwi --out datasets/synthetic --subjects 20 --frames 100 --size 80 --seed 0
	$(BIN)/python launch/sweep.py sweeps/demo.yaml

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: $(READY)
	$(BIN)/python -m results.ui

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: Python >= 3.10 is needed, set PYTHON=..."; exit 2; }
	if command -v uv >/dev/null; then uv venv --clear --python $(PYTHON) .venv && uv pip install --python $(BIN)/python -e '.[dev]'; \
	else $(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'; fi
	touch $@
