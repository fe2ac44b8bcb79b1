# Everything runs in .venv, which the first target that needs it creates. `make` lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
WORKERS ?= 2
# Threads wait for one another by spinning, for nothing where other processes hold the cores: on two
# busy cores, two threads took five times as long as one to train, and over a hundred times as long to
# search a latent space. `make demo THREADS=8` suits a machine of one's own.
THREADS ?= 1
THREADED := OMP_NUM_THREADS=$(THREADS) OPENBLAS_NUM_THREADS=$(THREADS) MKL_NUM_THREADS=$(THREADS) OMP_WAIT_POLICY=PASSIVE
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
# constraints-oldest.txt holds the oldest versions that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt

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

# Without bytecode, each process that tests and examples start compiles the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv demo gallery figures test lint doc unit package bench public accuracy format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/.installed-test ## create .venv with everything the tests need

demo: $(VENV)/.installed-demo ## train, refine, invert over terrain with draws, and a real profile; pictures in build/
	@mkdir -p build
	$(THREADED) MPLBACKEND=agg SKGRAV_PICTURES=build $(BIN)/python examples/demo.py
	$(THREADED) MPLBACKEND=agg SKGRAV_PICTURES=build $(BIN)/python examples/demo_surveys.py

# The tutorial of an area takes data that may have to be downloaded, too, and is part of the demo.
DRAWN := $(filter-out %/plot_area_with_terrain.py,$(sort $(wildcard examples/[0-5]_*/plot_*.py)))
gallery: $(VENV)/.installed-demo ## run the examples but those of measured data; pictures in build/
	@mkdir -p build
	@set -e; for script in $(DRAWN); do \
		echo "$$script"; $(THREADED) MPLBACKEND=agg SKGRAV_PICTURES=build $(BIN)/python "$$script"; \
	done

figures: $(VENV)/.installed-demo ## run the demo; its output and the pictures of README and docs
	$(THREADED) $(BIN)/python doc/figures.py

# Two at a time: types, reading and writing pages, and packaging keep one core each. The environment
# is installed before, as two installations at once would spoil it.
test: $(VENV)/.installed-test ## lint, build the docs, test and package, as CI does
	@$(MAKE) $(VENV)/.installed-doc
	@$(MAKE) -j2 lint doc unit package

lint: $(VENV)/.installed-test ## ruff, import layers, types, spelling, repository review
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/sp-repo-review .

# Examples run in two processes, each with one thread. Warnings are errors. Those that did not change
# since the last build are not run again: `make clean` forgets them.
doc: $(VENV)/.installed-doc ## build the docs with all examples, in build/doc
	$(ONE_THREAD) $(BIN)/python -m sphinx -b html -W --keep-going -d build/doctrees doc build/doc
	$(BIN)/python doc/check_pages.py build/doc

# Each worker has one thread: two workers with a thread per core each are slower than one. Each takes
# one half of the tests, so that both seldom fit what the tests of a file share.
unit: $(VENV)/.installed-test ## the tests and doctests alone
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

# As a user gets it: the files that would be uploaded, in an environment that holds nothing else, away
# from the checkout, and the first lines of the README.
package: $(VENV)/.installed-test ## build wheel and sdist, install and try them
	rm -rf build/package && mkdir -p build/package
	$(BIN)/python -m build --outdir build/package .
	$(PYTHON) -m venv build/package/venv
	build/package/venv/bin/python -m pip --disable-pip-version-check install \
		"$$(ls build/package/*.whl)[io]" -c $(CONSTRAINTS)
	awk '/^```python/ { on = 1; next } /^```/ { if (on) exit } on' README.md > build/package/quick_start.py
	echo 'assert density.shape == (5, 2500)' >> build/package/quick_start.py
	cd build/package && venv/bin/python -W error quick_start.py && venv/bin/python -m skgrav info

bench: $(VENV)/.installed-bench ## the benchmarks against peers, hours; fills pages of the docs
	@mkdir -p build
	$(ONE_THREAD) $(BIN)/python benchmarks/all.py
	$(MAKE) public

public: $(VENV)/.installed-bench ## public problems beside SimPEG and published figures, 40 CPU minutes
	@mkdir -p build
	$(ONE_THREAD) $(BIN)/python benchmarks/public.py

accuracy: $(VENV)/.installed-bench ## how accurate each method is, two and a half CPU hours; fills doc/accuracy.md
	$(BIN)/python benchmarks/accuracy.py main ablation consistency heads sections seconds geometry page

format: $(VENV)/.installed-test ## put the code in form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove pictures and caches, keep .venv
	rm -rf build dist doc/api/generated doc/gallery doc/sg_execution_times.rst .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find skgrav tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "skgrav needs Python 3.11 or newer; say which with make PYTHON=...")'
	@echo 'Making the environment $(VENV) ...'
	$(PYTHON) -m venv $(VENV)

# Installing is skipped as long as these two files stay as they are.
EXTRAS_demo := all
EXTRAS_test := test
EXTRAS_doc := doc
EXTRAS_bench := bench
$(VENV)/.installed-%: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo 'Installing skgrav[$(EXTRAS_$*)] into $(VENV), once; torch is large, and takes minutes ...'
	$(PIP) install -e '.[$(EXTRAS_$*)]' -c $(CONSTRAINTS)
	@touch $@
