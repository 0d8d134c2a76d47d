# Two commands from nothing but Python 3.11 (venv and pip): the main job, and the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test check docs clean address

run: $(VENV)/.installed
	$(BIN)/pcbench run
	$(BIN)/pcbench leaderboard build

# Three processes for two cores, each with one thread: tests wait for processes, browsers and clocks a fifth of their time,
# and two threads that wait for one another are slower than two processes. The few tests of more threads let them sleep
# while they wait: on busy cores that takes a tenth of the time. Files go to them in the order of
# tests/conftest.py, the slow ones first; xdist alone would begin those of few tests last.
test: WORKERS := $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 )))
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile \
		--no-loadscope-reorder $(OPTIONS)

# The linters; CI runs them beside the tests.
check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/oxlint --deny-warnings leaderboard/static
	$(BIN)/deno check --quiet --no-remote --no-npm leaderboard/static/*.js leaderboard/templates/*.js
	$(BIN)/cffconvert --validate

# The documentation as a site: build/docs/index.html. A broken link or an unknown name is an error.
docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/docs

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
ADDRESSED := pyproject.toml CITATION.cff README.md CONTRIBUTING.md docs/submitting.md \
	.github/ISSUE_TEMPLATE/config.yml
ADDRESS := $(shell sed -n 's/^Repository = "\(.*\)"/\1/p' pyproject.toml)

address:
	@case '$(URL)' in https://*) ;; *) echo 'usage: make address URL=https://…' >&2; exit 2 ;; esac
	sed -i.old 's|$(ADDRESS)|$(URL)|g' $(ADDRESSED)
	rm $(ADDRESSED:=.old)

clean:
	rm -rf $(VENV) results site build
