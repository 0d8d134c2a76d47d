# Two commands from nothing but Python 3.11 (venv and pip): the main job, and the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test check clean address

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

# Where pcbench is published: make address URL=https://github.com/LAB/pcbench
ADDRESS := $(shell sed -n 's/^Repository = "\(.*\)"/\1/p' pyproject.toml)

address:
	@case '$(URL)' in https://*) ;; *) echo 'usage: make address URL=https://…' >&2; exit 2 ;; esac
	sed -i.old 's|$(ADDRESS)|$(URL)|g' pyproject.toml CITATION.cff README.md docs/submitting.md
	rm pyproject.toml.old CITATION.cff.old README.md.old docs/submitting.md.old

clean:
	rm -rf $(VENV) results site
