# Every target first sets up .venv, anew when pyproject.toml changes.
PYTHON ?= python3
PORT ?= 5000
BIN := .venv/bin
READY := .venv/.ready
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal --durations 10
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION = false
export MLFLOW_DISABLE_TELEMETRY = true

.PHONY: demo test test-all test-services test-gpu lint ui
demo: $(READY)
	$(BIN)/bel-data synth --layout biwi --out datasets/synthetic --subjects 160 --frames 16 --size 80 --seed 0
	$(BIN)/python launch/sweep.py sweeps/demo.yaml

test: $(READY)
	$(PYTEST) -m "not slow and not service"

# The slow tests too: faults, clusters, browsers, long statistics, the commands of the READMEs.
test-all: test
	$(PYTEST) -m "slow and not service"

# The tests that need PostgreSQL (Debian: postgresql) or Slurm (slurmctld, slurmd, slurm-client, munge); each starts its own in
# a temporary folder, at ports of its own, and skips with a reason where its programs are missing. A file's run one after
# the other, on one server; those of Slurm wait most of the time, while the others run.
test-services: $(READY)
	$(PYTEST) --dist loadfile -m service

# Tests on a GPU; they skip where there is none.
test-gpu: $(READY)
	$(BIN)/python -m pytest tests/gpu

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: $(READY)
	@echo "MLflow UI: http://127.0.0.1:$(PORT)   (make ui PORT=5001 for another port, Ctrl-C ends it)"
	@$(BIN)/python -m results.store.ui_links --port $(PORT)
	@MLFLOW_BACKEND_STORE_URI="$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" \
	  $(BIN)/mlflow server --host 127.0.0.1 --port $(PORT) --workers 1

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "error: Python >= 3.10 is needed, $(PYTHON) is older or missing: make PYTHON=python3.11 ..."; exit 2; }
	if command -v uv >/dev/null; then uv venv --quiet --clear --python $(PYTHON) .venv && uv pip install --quiet --python $(BIN)/python -e '.[dev]'; \
	else $(PYTHON) -m venv --clear .venv && $(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'; fi
	@touch $@
