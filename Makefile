.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/installed: pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

install: $(VENV)/installed  ## virtual environment with everything a developer needs

demo: install  ## 200 labelled toy cars in ./toy
	$(VENV)/bin/l4f-datagen make --domain toy-cars --n 200 --out toy

check: install docs  ## format, lint, layers, types, docs
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

docs: install  ## the documentation as a site in ./site
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict

test: install check  ## what has to pass before a change lands
	$(PY) -m pytest -n 2

test-all: install check  ## also fuzzing, browser, cloud storage, Ray, torchrun
	$(PY) -m pytest -m ''

benchmarks: install  ## the first tables of docs/figures.md; its other figures name their command
	$(VENV)/bin/l4f-datagen benchmark --domain toy-cars --out runs/benchmark
	$(PY) benchmarks/throughput.py

.PHONY: help install demo check docs test test-all benchmarks
