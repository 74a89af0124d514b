# Perennial on this machine. `make` alone says what there is.

PYTHON ?= python3.11
IMAGE ?= perennial-trainer:latest
SERVER_IMAGE ?= perennial-server:latest
VENV := .venv
BIN := $(VENV)/bin
LOCK := $(BIN)/uv pip compile --python-version 3.11 --no-header --quiet --upgrade
INSTALL := UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install --quiet --python $(BIN)/python

# Without bytecode each process of the stack takes several times as long to start.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.PHONY: help up demo test bench image deploy-check lock

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/installed ## start Airflow, MLflow and the model server, until Ctrl-C
	@echo "Starting the local stack."
	@$(BIN)/python -m include.stack up

demo: $(VENV)/installed ## replay a year of flights: ingest, train, release, drift, retrain
	@echo "Replaying the demo."
	@$(BIN)/python -m include.demo

test: $(VENV)/installed-for-tests ## check style, types and imports, then run all tests
	@echo "Checking and testing everything."
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=.:plugins $(BIN)/lint-imports
	$(BIN)/python -m include.lifecycle check
	$(BIN)/python -m pytest

bench: $(VENV)/installed-for-tests ## measure what the documentation claims
	@echo "Measuring."
	@$(BIN)/python -m tests.benchmarks

image: ## build the images of steps and of the server (IMAGE=name:tag SERVER_IMAGE=name:tag)
	@for builder in docker podman buildah; do \
		if $$builder info >/dev/null 2>&1; then \
			echo "Building $(IMAGE) and $(SERVER_IMAGE) with $$builder."; \
			$$builder build --tag $(IMAGE) --file docker/trainer/Dockerfile . && \
			exec $$builder build --tag $(SERVER_IMAGE) --file docker/server/Dockerfile .; \
			exit 1; \
		fi; \
	done; \
	echo "No builder of images answers: start docker, or install podman or buildah." >&2; exit 1

deploy-check: ## ask the cluster of KUBECONFIG whether it would take docker/manifests
	@docker/check-manifests

lock: $(BIN)/uv ## choose the newest versions that pyproject.toml allows
	@echo "Locking requirements.txt, and out of it those of the tests and of the images."
	$(LOCK) pyproject.toml --output-file requirements.txt
	$(LOCK) pyproject.toml --extra test --constraint requirements.txt --output-file tests/requirements.txt
	$(LOCK) --group steps --constraint requirements.txt --output-file docker/trainer/requirements.txt
	$(LOCK) --group server --constraint requirements.txt --no-emit-package nvidia-nccl-cu12 \
		--output-file docker/server/requirements.txt

# The two only add, so that neither undoes the other.
$(VENV)/installed: requirements.txt $(BIN)/uv
	@echo "Installing what Perennial runs on."
	@$(INSTALL) --requirement requirements.txt
	@touch $@

$(VENV)/installed-for-tests: tests/requirements.txt $(VENV)/installed
	@echo "Installing what its tests need."
	@$(INSTALL) --requirement tests/requirements.txt
	@touch $@

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
		{ echo "Perennial needs Python 3.11: install it, or say where it is: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Creating $(VENV)."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet uv
