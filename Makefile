# Everything a person does with fmrec. `make` alone lists it.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo up down test check soak bench lock docs

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*  ## /  make \1@/p' Makefile | column -t -s @

demo: .venv/runtime  ## set up, rebuild a recommender once, show the report (ARGS="--split u1")
	@$(BIN)/python -m fmrec run $(ARGS)

up: .venv/runtime  ## start Airflow and the local AWS for the browser
	@$(BIN)/python -m fmrec up

down: .venv/runtime  ## stop what `make up` started
	@$(BIN)/python -m fmrec down

check: .venv/development  ## lint, types, imports, unit tests: a minute and a half
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -m "not e2e and not slow" --numprocesses 2

test: .venv/development .venv/sdk  ## every test but soak, with real processes: half an hour
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m "not soak"

soak: .venv/development  ## kill -9 in every step of the DAG, of a worker and the scheduler: ten minutes
	$(BIN)/pytest -m soak

bench: .venv/runtime  ## measure speed side by side, write docs/benchmarks/ (LIBFM=PATH MYFM=1)
	$(BIN)/python tools/bench_codec.py
	$(BIN)/python tools/bench_scale.py
	$(BIN)/python tools/bench_fm.py $(if $(LIBFM),--libfm "$(LIBFM)") $(if $(MYFM),--myfm)
	$(BIN)/python tools/bench_fm.py --guard
	$(BIN)/python tools/bench_local_aws.py
	$(BIN)/python tools/bench_topn.py
	$(BIN)/python tools/bench_backfill.py

docs: .venv/runtime  ## write the generated pages of docs/
	$(BIN)/python tools/write_docs.py

lock: .venv/development  ## resolve requirements*.in anew
	$(BIN)/python tools/lock.py

.venv/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit("fmrec needs Python 3.11 to 3.13 and %s is %d.%d; name another one: make PYTHON=python3.12 ..." % ("$(PYTHON)", *v))'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/runtime: .venv/python requirements.txt pyproject.toml
	@echo "Installing what fmrec runs on into .venv: a few minutes, once."
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps -e .
	$(BIN)/python -m fmrec.fm compile
	@touch $@

.venv/development: .venv/runtime requirements-dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements-dev.txt
	@touch $@

# The SageMaker SDK 2.x and the AWS CLI, for the tests that hold the local AWS against them. Neither
# can be installed beside the project: the SDK 3.x has the same name.
.venv/sdk: .venv/python tests/e2e/sdk/requirements.txt
	@echo "Installing the SageMaker SDK 2.x into .venv/sdk-environment: half a minute, once."
	$(BIN)/python -m venv --clear .venv/sdk-environment
	.venv/sdk-environment/bin/python -m pip install --disable-pip-version-check --quiet -r tests/e2e/sdk/requirements.txt
	@touch $@
