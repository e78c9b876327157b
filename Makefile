# `make` alone lists what there is. Everything runs in .venv, which is made when first needed and
# again when what it is made from changes.

PYTHON ?=
VENV ?= .venv
PYTEST_ARGS ?=
INGREDIENTS := .ci/setup constraints.txt pyproject.toml setup.cfg setup.py training/pyproject.toml
RECIPE := $(shell (cat $(INGREDIENTS); echo "$$ROS_DISTRO") | sha256sum | cut -c1-16)
READY := $(VENV)/.ready-$(RECIPE)
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup test lint format bench demo weights

help: ## this list
	@echo "make TARGET [PYTHON=python3.12]"
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(READY) ## a virtual environment with everything, in .venv

$(READY):
	PYTHON="$(PYTHON)" .ci/setup $(VENV)
	@rm -f $(VENV)/.ready-*
	@touch $@

test: $(READY) ## all tests but the slow ones (those: make test PYTEST_ARGS="-m slow")
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

lint: $(READY) ## style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY) ## rewrite the source in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY) ## speed and memory as a table and bench/latest.json (BENCH_ARGS="--device cuda")
	$(BIN)/memorysam bench $(BENCH_ARGS)

demo: $(READY) ## a simulated drive through the real node, with a report at the end
	$(BIN)/memorysam demo

# In two runs, the second from the weights of the first; what was begun goes on where it stopped.
TRAIN = OMP_NUM_THREADS=1 $(BIN)/torchrun --nproc-per-node 2 -m memorysam_core.cli train \
  config/train_sim_nano.yaml data.root=worlds optimiser.batch_per_process=2
resume = $(if $(wildcard $(1)/recipe.yaml),--resume)

weights: $(READY) ## the weights that ship, from nothing, in runs/second (hours)
	[ -d worlds ] || $(BIN)/memorysam simulate worlds --dataset --frames 2500 --size 448x256 --seed 22
	$(TRAIN) run.folder=runs/first optimiser.epochs=5 run.validate_every=5 loss.balance=0 \
	  robustness.dropout=0.2 robustness.dropout_weights.depth=3 $(call resume,runs/first)
	$(TRAIN) run.folder=runs/second model.weights=runs/first/checkpoints/best.safetensors \
	  optimiser.epochs=6 run.validate_every=3 optimiser.learning_rate=0.001 \
	  optimiser.muon_rate=0.01 augment.early_share=0.92 $(call resume,runs/second)
