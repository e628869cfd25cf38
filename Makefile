# `make help` is the menu.
PYTHON ?= python3
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
GMT_PACKAGES := gmt libgmt-dev ghostscript
GMT_LEAST := 6.4
CHAIN := data_prep srgan_train deepbedmap paper_figures
PAIRS := $(filter $(basename $(wildcard *.ipynb)),$(basename $(wildcard *.py)))
ALL_NOTEBOOKS := $(CHAIN) $(filter-out $(CHAIN) test_ipynb,$(PAIRS)) test_ipynb
NOTEBOOKS ?= $(ALL_NOTEBOOKS)
OUT ?= model/notebooks
JUPYTER_SETTINGS := labconfig/default_setting_overrides.json jupyter_server_config.json

.PHONY: help install packages gmt demo demo-ice-flow demo-structure-formation demo-extreme-weather demo-temperature-forecast test lint types layers unit notebooks pairs index address chainer clean
.DEFAULT_GOAL := help

help: ## Show this menu
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 28

install: gmt packages ## Set everything up: .venv, Python packages, GMT where it is missing

packages: $(VENV)/installed $(addprefix $(VENV)/etc/jupyter/,$(JUPYTER_SETTINGS)) ## Set up .venv and the Python packages alone

$(VENV)/installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "python3 cannot make a virtual environment; run: sudo apt-get install python3-venv"; exit 1; }
	@echo "installing Python packages into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# JupyterLab opens the paired scripts as notebooks, and saves nothing of its kernel in them.
$(VENV)/etc/jupyter/%: .jupyter/% | $(VENV)/installed
	@mkdir -p $(@D) && cp $< $@

# Its source package needs an older setuptools to build; a throw-away environment builds the wheel with it.
CHAINER = $(shell sed -n 's/^chainer = \["\([^"]*\)"\].*/\1/p' pyproject.toml)
chainer: $(VENV)/installed ## Install Chainer, to check old weights against (a minute)
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	  pip="-m pip --disable-pip-version-check --quiet"; \
	  $(PYTHON) -m venv $$folder/build; \
	  $$folder/build/bin/python $$pip install 'setuptools<70' wheel; \
	  $$folder/build/bin/python $$pip wheel --no-build-isolation --no-deps --wheel-dir $$folder '$(CHAINER)'; \
	  $(BIN)/python $$pip install $$folder/chainer-*.whl; \
	  PYTHONPATH=tests $(BIN)/python -c 'from chainer_reference import chainer; print("Chainer", chainer.__version__)'

# The maps are drawn, and the surveys gridded, by GMT. PyGMT loads the library that `gmt` names.
gmt:
	@enough() { printf '%s\n' $(GMT_LEAST) "$$1" | sort -CV; }; refuse() { echo "$$1"; exit 1; }; \
	found="$$(gmt --version 2>/dev/null)"; conda="use conda: conda env create -f environment.yml"; \
	if test -n "$$found" && enough "$$found" && test -e "$$(gmt --show-library)" && command -v gs >/dev/null; \
	then exit; fi; \
	command -v apt-get >/dev/null || refuse "GMT $(GMT_LEAST) or later is missing; $$conda"; \
	if [ "$$(id -u)" = 0 ]; then as_root=; elif sudo -n true 2>/dev/null; then as_root=sudo; else as_root=no; fi; \
	test "$$as_root" = no || $$as_root apt-get update -qq; \
	packaged="$$(LC_ALL=C apt-cache policy gmt | sed -n 's/^ *Candidate: *\([0-9]\)/\1/p')"; \
	test -z "$$packaged" || enough "$$packaged" || \
	  refuse "GMT $$packaged, which this system packages, is too old: PyGMT needs $(GMT_LEAST); $$conda"; \
	test "$$as_root" != no || \
	  refuse "GMT $(GMT_LEAST) or later is missing; run: sudo apt-get install $(GMT_PACKAGES)   (or $$conda)"; \
	echo "installing GMT: $(GMT_PACKAGES)"; \
	$$as_root apt-get install -y -qq $(GMT_PACKAGES) >/dev/null || exit 1; \
	enough "$$(gmt --version)" || refuse "$$(command -v gmt) is older than $(GMT_LEAST), which PyGMT needs; $$conda"

override PARAMETERS += $(if $(SEED),seed=$(SEED))
RUN_NOTEBOOKS = @$(BIN)/fieldwise notebooks --out $(OUT) \
  $(if $(strip $(PARAMETERS)),--parameters $(PARAMETERS))

demo: install ## Run the main job on the sandbox: survey files -> map of the bed, judged (10 minutes)
	$(RUN_NOTEBOOKS) --names $(CHAIN)

demo-ice-flow: packages ## Emulate the flow of made glaciers, judged on valleys it has not seen (10 minutes)
	$(RUN_NOTEBOOKS) --names ice_flow

demo-structure-formation: packages ## Emulate gravity in made universes, judged on boxes it has not seen (10 minutes)
	$(RUN_NOTEBOOKS) --names structure_formation

demo-extreme-weather: packages ## Find storms and rivers in made seasons, judged on one it has not seen (10 minutes)
	$(RUN_NOTEBOOKS) --names extreme_weather

demo-temperature-forecast: packages ## Forecast made weather 12 hours ahead, judged beside the best possible (10 minutes)
	$(RUN_NOTEBOOKS) --names temperature_forecast

test: install lint types layers unit ## Run everything: style, types, layers, tests, doctests, features, notebooks

lint: $(VENV)/installed ## Check style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/installed ## Check types
	@$(BIN)/mypy

layers: $(VENV)/installed ## Check that imports run downward only
	@$(BIN)/lint-imports

unit: install ## Run unit tests, doctests, features and, at a small size, the notebooks
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# make notebooks NOTEBOOKS="data_prep srgan_train" SEED=8 PARAMETERS="size_km=150 max_epochs=2" OUT=model/notebooks
notebooks: install ## Execute the notebooks in batch; NOTEBOOKS, PARAMETERS, SEED and OUT may be set
	$(RUN_NOTEBOOKS) --names $(NOTEBOOKS)

# The badges, the first cells on Colab and pyproject.toml name the repository on GitHub.
address: ## Say where the repository is published: make address REPOSITORY=owner/name
	@test -n "$(REPOSITORY)" || { echo "give REPOSITORY=owner/name"; exit 2; }
	@sed -i.before -E 's#((github\.com|colab\.research\.google\.com/github|mybinder\.org/v2/gh)/)[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+#\1$(REPOSITORY)#g' \
	  pyproject.toml README.md $(PAIRS:=.py) $(PAIRS:=.ipynb)
	@rm -f $(addsuffix .before,pyproject.toml README.md $(PAIRS:=.py) $(PAIRS:=.ipynb))

index: $(VENV)/installed ## Write fieldwise/README.md, the index of all functions, from the docstrings
	@$(BIN)/python docs/make_index.py

pairs: $(VENV)/installed ## Write the notebooks anew from their paired scripts
	@for script in $(ALL_NOTEBOOKS); do \
	  $(BIN)/jupytext --to notebook --update $$script.py; done

clean: ## Remove what runs have written to model/, not the data
	@rm -rf $(addprefix model/,checkpoints logs figures notebooks tuning ice_flow members structure_formation extreme_weather published *.tif *.nc *.json *.yaml *.db)
