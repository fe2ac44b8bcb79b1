# Everything runs in .venv, which the first target that needs it creates. `make` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
WORKERS ?= 2

# A mirror of the public data files beside the checkout is used when there is one. Set but empty is
# the same as unset.
ifeq ($(strip $(SKGRAV_DATA)),)
SKGRAV_DATA := $(abspath $(wildcard ../shared/data))
endif
ifeq ($(strip $(SKGRAV_DATA)),)
unexport SKGRAV_DATA
else
export SKGRAV_DATA
endif

.DEFAULT_GOAL := help
.PHONY: help venv demo gallery figures test lint unit bench accuracy format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/.installed-test ## create .venv with everything the tests need

demo: $(VENV)/.installed-demo ## train, refine and invert a real profile; pictures in build/
	@mkdir -p build
	MPLBACKEND=agg SKGRAV_PICTURES=build $(BIN)/python examples/demo.py
	MPLBACKEND=agg SKGRAV_PICTURES=build $(BIN)/python examples/plot_real_profile.py

gallery: $(VENV)/.installed-demo ## run the other examples; pictures in build/
	@mkdir -p build
	@set -e; for script in examples/plot_[!r]*.py; do \
		echo "$$script"; MPLBACKEND=agg SKGRAV_PICTURES=build $(BIN)/python "$$script"; \
	done

figures: $(VENV)/.installed-demo ## run the demo and put its output and pictures into the README
	$(BIN)/python doc/figures.py

test: lint unit ## lint, check and test, as CI does

lint: $(VENV)/.installed-test ## ruff, import floors, types, spelling, repository review
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/sp-repo-review .

# Each worker has one thread: two workers with a thread per core each are slower than one.
unit: $(VENV)/.installed-test ## the tests and doctests alone
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
		$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

bench: $(VENV)/.installed-bench ## the benchmarks against peers, hours; fills doc/speed.md
	@mkdir -p build
	@set -e; for script in benchmarks/bench_*.py; do \
		echo "$$script"; OMP_NUM_THREADS=1 $(BIN)/python "$$script"; \
	done
	$(BIN)/python benchmarks/page.py

accuracy: $(VENV)/.installed-bench ## how accurate each method is, two hours; fills doc/accuracy.md
	$(BIN)/python benchmarks/accuracy.py main ablation consistency heads sections seconds geometry page

format: $(VENV)/.installed-test ## put the code in form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove pictures and caches, keep .venv
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find skgrav tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "skgrav needs Python 3.11 or newer; say which with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

# Installing is skipped as long as these two files stay as they are.
EXTRAS_demo := all
EXTRAS_test := test
EXTRAS_bench := bench
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing skgrav[$(EXTRAS_$*)] into $(VENV), once ...'
	$(PIP) install --quiet -e '.[$(EXTRAS_$*)]' -c constraints.txt
	@touch $@
