# Two commands from nothing but Python 3.11 (venv and pip): the main job, and the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test check clean

run: $(VENV)/.installed
	$(BIN)/pcbench run
	$(BIN)/pcbench leaderboard build

# A process a core, each with one thread: two threads that wait for one another are slower than two processes.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile $(OPTIONS)

# The linters; CI runs them beside the tests.
check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cffconvert --validate

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One install at a time: pip takes the CPU build of torch that constraints.txt pins.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) results site
