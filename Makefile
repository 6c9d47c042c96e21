# make demo   everything a user does, on a small made dataset, on the CPU
# make test   the tests
# Each sets up .venv by itself the first time; running them again is quick.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
OUT    ?= demo_output

.DEFAULT_GOAL := help
.PHONY: help install demo test lint clean

help:            ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

$(STAMP): pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@

install: $(STAMP)   ## set up .venv

demo: $(STAMP)   ## convert, plan, train, predict, evaluate, report (DATA=folder: your own pairs; OUT=folder)
	$(BIN)/nnunet_ext demo --output $(OUT) $(if $(DATA),--data $(DATA))

test: $(STAMP)   ## run the tests (ARGS='-m slow' and so on are passed to pytest)
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)   ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:           ## remove what make made
	rm -rf $(VENV) demo_output build *.egg-info .pytest_cache .ruff_cache .mypy_cache
