# The two commands of a newcomer are `make demo` and `make test`. Everything lands in .venv, build and ~/.cache/sightline.

.DEFAULT_GOAL := help
.PHONY: help setup demo test faults check lock proto clean

ARGS ?=
# Processes that share the test files: they wait for brokers and timers half of their time. Each may start a Kafka and two Sparks,
# which takes up to 4 GB of memory and at times both of two cores.
JOBS ?= 2
BIN := .venv/bin
CONTRACT := edge/src

help: ## Show this
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-8s %s\n", $$1, $$2}'

setup: .venv/ready ## Make .venv with everything that Python needs; quick when it is there

.venv/ready: requirements.txt pyproject.toml stack/setup.sh
	@PYTHON='$(PYTHON)' sh stack/setup.sh
	@touch $@

demo: setup ## Run the main job on a real clip and show what it found; ARGS="--full" passes options on
	@$(BIN)/sightline demo $(ARGS)

test: setup ## Run every test, two files at a time; JOBS=0 one by one; ARGS="-k broker" passes options on
	@$(BIN)/sightline jars
	@$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

faults: setup ## Every fault test, the long ones too; measured recoveries go to build/faults.json
	@$(BIN)/sightline jars
	@$(BIN)/pytest -m "faults or not faults" tests/faults $(ARGS)

check: setup ## Style, types, import rules, generated code, pins: what needs no service
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@if [ -f dbt/dbt_project.yml ]; then set -x; $(BIN)/sqlfluff lint dbt; fi
	$(BIN)/pytest --quiet tests/contract/test_generated_code.py tests/stack/test_requirements.py

lock: setup ## Resolve requirements.txt and the jars again, after a change of pyproject.toml or jar_lock.py
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--all-extras --group dev --custom-compile-command "make lock" pyproject.toml --output-file requirements.txt
	$(BIN)/python -m sightline.jar_lock

proto: setup ## Generate the contract's code again, after a change of detection.proto
	cd $(CONTRACT) && ../../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. sightline_contract/detection.proto

clean: ## Remove what was built; the cache stays
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
