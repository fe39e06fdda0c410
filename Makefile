# The same commands everywhere. Use another environment with: make check PYTHON=python3
PYTHON ?= .venv/bin/python

.PHONY: app check test lint format types docs wheel runs screenshots pictures tutorial bench bench-seeds

app:            ## start the explorer
	$(PYTHON) -m streamlit run app/main.py

check: docs test lint types  ## what CI runs

test:
	$(PYTHON) -m pytest -n 2

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -c "from importlinter.cli import lint_imports_command as check; check()"

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

types:
	$(PYTHON) -m mypy

docs:           ## build the documentation site: open site/index.html, no server needed
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

wheel:          ## install the wheel away from the checkout and use it there (two minutes)
	$(PYTHON) -m tests.wheel_check

runs:           ## compute the shipped runs again, and the drawings made of them (GGUF=path of the SmolLM2 file)
	$(PYTHON) -m assets.make_runs $(GGUF)
	$(PYTHON) -m docs.generate.method_pictures

screenshots:    ## make the README's pictures from the real app
	$(PYTHON) -m docs.generate.screenshots

pictures:       ## measure and draw the method's pictures again (docs/method.md)
	$(PYTHON) -m docs.generate.slopes
	$(PYTHON) -m docs.generate.method_pictures

models:         ## README's list of models and docs/families.md, from the tests' table
	$(PYTHON) -m docs.generate.models

tutorial:       ## run the tutorial notebook again and keep its outputs
	$(PYTHON) -m docs.generate.tutorial

bench:          ## cost of every step and run in plain training steps (11 minutes on two cores)
	$(PYTHON) -m benchmarks

bench-seeds:    ## HAP against EP at half of its cost, on three sets of prompts (12 minutes)
	$(PYTHON) -m benchmarks --only seeds
