# Everything starts here. 'make demo' and 'make test' set up .venv by themselves; all they need is Python 3.11+ and make.
SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# An interpreter of version 3.11 or later; choose another by 'make PYTHON=/path/to/python3 ...'.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done; true)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
# Installed first and alone, so that no other package's range chooses the version (a range alone may pull several GB).
TORCH := $(shell sed -n 's/^\(torch==.*\)/\1/p' constraints.txt)
# Processes side by side in 'make test'; 0 runs everything in one.
JOBS ?= 2
# How long 'make fuzz' lets atheris look at each kind of input.
FUZZ_SECONDS ?= 20
# Two processes with two threads each on two cores run ten times slower than with one each.
export OMP_NUM_THREADS := 1

.PHONY: help setup demo demo-federated test test-slow check bench bench-paper bench-excite bench-pull soak fuzz wheelhouse fmt stubs clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s @ 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1: \2/p' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## create .venv with everything (the other targets do it by themselves)

$(STAMP): constraints.txt pyproject.toml shared/pyproject.toml custodian/pyproject.toml consumer/pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or later is found; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "error: '$(PYTHON)' is no Python 3.11 or later; name another: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version) (once; a few minutes)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 \
		|| { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --quiet --python $(BIN)/python install pip; } >/dev/null 2>&1 \
		|| { rm -rf $(VENV); echo "error: '$(PYTHON)' can't make a virtual environment; install its venv module (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@$(PIP) install --upgrade "pip>=25.1"
	@$(PIP) install -c constraints.txt $(TORCH)
	@$(PIP) install -c constraints.txt -e ./shared[hsm,learning,records] -e ./custodian[postgres] -e ./consumer[search,torch] --group dev
	@touch $@

demo: $(STAMP) ## the main job, to build/demo/report.html; real recordings: make demo DATA=../path/to/apnea-ecg
	$(BIN)/python deploy/demo/run.py $(if $(DATA),--data "$(DATA)")

demo-federated: $(STAMP) ## three hospitals, one partner that learns from all of them, to build/federated/report.html
	$(BIN)/python deploy/federated/federate.py $(ARGS)

test: $(STAMP) ## the tests, without those that take minutes; choose by ARGS="-k verify"
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-slow: $(STAMP) ## the tests that take minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

check: $(STAMP) ## lint, types, import contracts, .proto files and their stubs
	$(PIP) check
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	sh protos/generate.sh --check

bench: $(STAMP) ## the benchmarks, to build/bench/NAME.json; one of them: make bench BENCH=NAME; options by ARGS
	@mkdir -p build/bench
	@for script in tests/benchmarks/bench_$(or $(BENCH),*).py; do \
		test -f "$$script" || { echo "error: there is no benchmark $$script" >&2; exit 1; }; \
		echo "$$script"; $(BIN)/python "$$script" $(if $(DATA),--data "$(DATA)") $(ARGS); \
	done

bench-paper: $(STAMP) ## recipes x students beside true data and noise, quick form; DATA=../path/to/apnea-ecg ARGS=--full takes hours
	@$(MAKE) bench BENCH=paper

bench-excite: $(STAMP) ## stimuli per second: the published loop and ours, in turns on one core
	@$(MAKE) bench BENCH=excite

bench-pull: $(STAMP) ## one pull of 2 GiB beside nginx and curl, in turns, and 50 partners at once; sooner: ARGS="--mib 256"
	@$(MAKE) bench BENCH=pull

soak: $(STAMP) ## 200 pulls under SIGKILLs, bad lines, full disks and a clock that jumps, to build/soak; short form: ARGS=--quick
	$(BIN)/python tests/soak/run.py $(ARGS)

fuzz: $(STAMP) ## 200,000 mutants of everything that comes from outside, then atheris on each kind, to build/fuzz
	$(BIN)/python tests/fuzz/run.py $(ARGS)
	@$(PIP) install -c constraints.txt --group fuzz || echo "note: atheris can't be installed here; the coverage-guided runs are left out"
	@! $(BIN)/python -c "import atheris" 2>/dev/null || for kind in envelope statement shard onnx root; do \
		echo "atheris, $$kind, $(FUZZ_SECONDS) s"; \
		$(BIN)/python tests/fuzz/run.py --engine atheris --kind $$kind --seconds $(FUZZ_SECONDS) >build/fuzz/atheris-$$kind.log 2>&1 \
			|| { tail -n 20 build/fuzz/atheris-$$kind.log; exit 1; }; \
		grep -E "^Done|DONE" build/fuzz/atheris-$$kind.log || tail -n 1 build/fuzz/atheris-$$kind.log; \
	done

wheelhouse: $(STAMP) ## an installer for machines without network, to dist/wheelhouse; WHEELHOUSE_SIDE=consumer is the partner's
	@PYTHON=$(BIN)/python sh deploy/wheelhouse/build.sh --side $(or $(WHEELHOUSE_SIDE),custodian) $(ARGS)

fmt: $(STAMP) ## sort imports and format
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

stubs: $(STAMP) ## write the Python stubs of protos/ anew
	sh protos/generate.sh

clean: ## remove what was built; .venv too
	rm -rf build dist $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +
