# l1scout: two commands for a newcomer, on a machine with Python 3.11+ and make.
#   make demo   simulate, train, evaluate, recalibrate; writes demo/report.html   (a minute or two)
#   make test   format, types, order of imports, and tests
# Both make .venv from requirements.lock (exact versions and hashes) the first time.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test types tests test-long docs benchmark clean
help:
	@sed -n '2,4s/^# *//p' Makefile

demo: .venv/ready
	$(BIN)/l1scout demo --out demo

test: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@$(MAKE) --no-print-directory --jobs 2 tests types

types: .venv/ready
	$(BIN)/mypy
	$(BIN)/lint-imports

# hundreds of processes import l1scout: its byte code is kept
tests: export PYTHONDONTWRITEBYTECODE :=
tests: .venv/ready
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	  --durations 10 -m "not long"

test-long: .venv/ready
	$(BIN)/pytest -m long

docs: .venv/ready
	$(BIN)/python -m l1scout.formats > docs/formats.md
	$(BIN)/python -m l1scout.control.schemas > docs/schemas/chain.json
	$(BIN)/python -m l1scout.analysis docs/analyses.md
	$(BIN)/python -m l1scout.model docs/schemas
	PYTHONPATH=tests $(BIN)/python tests/conversion_matrix.py docs/convert.md
	$(BIN)/python -m l1scout.control > docs/metrics.md

benchmark: .venv/ready
	for b in benchmarks/*.py; do $(BIN)/python $$b || exit 1; done

clean:
	rm -rf .venv demo .mypy_cache .pytest_cache .ruff_cache

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "l1scout needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv || \
	  { echo "could not make .venv; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # on all processors; pip would use one
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
