# Catenary. `make help` lists the targets; all of them may be repeated and are quick the second time.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: help install build demo testbed test lint format docs bench bench-mgmt bench-ops experiment experiments package report chaos clean

BIN := .venv/bin
export MAKE_GOAL := $(or $(firstword $(MAKECMDGOALS)),demo)

CLANG ?= clang
# Where it was built is nothing to those who install it.
PLACELESS := -fdebug-prefix-map=$(CURDIR)=.
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g $(PLACELESS) -Wall -Werror -I/usr/include/$(shell uname -m)-linux-gnu -Ilb_adapter/core
BPF_SOURCES := $(wildcard */bpf/*.bpf.c experiments/*/bpf/*.bpf.c)
BPF_OBJECTS := $(BPF_SOURCES:.bpf.c=.bpf.o)
BPF_HEADERS := $(wildcard */bpf/*.h lb_adapter/core/*.h)

NATIVE := lb_adapter/native
# As the kernel is built: keys are read as words here and as fields there.
NATIVE_CFLAGS := -O2 -g -Wall -Wextra -Werror -std=gnu11 -fno-strict-aliasing -Ilb_adapter/core
NATIVE_WORKER := $(addprefix $(NATIVE)/,worker.c af_packet.c pf_ring.c)
NATIVE_HEADERS := $(wildcard $(NATIVE)/*.h lb_adapter/core/*.h)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

.venv/installed: setup.cfg setup.py pyproject.toml constraints.txt tools/install.sh
	@tools/install.sh python
	@touch $@

%.bpf.o: %.bpf.c $(BPF_HEADERS)
	@echo "compiling $<"
	@$(CLANG) $(BPF_CFLAGS) -c $< -o $@

# It includes the data plane's own program.
experiments/bench/bpf/packet.bpf.o: lb_adapter/bpf/splice.bpf.c

$(NATIVE)/worker: $(NATIVE_WORKER) $(NATIVE_HEADERS)
	@echo "compiling $@"
	@$(CC) $(NATIVE_CFLAGS) $(NATIVE_WORKER) -o $@ -pthread -ldl

$(NATIVE)/libsplice.so: $(NATIVE)/library.c $(NATIVE_HEADERS)
	@echo "compiling $@"
	@$(CC) $(NATIVE_CFLAGS) -shared -fPIC -fvisibility=hidden $< -o $@ -pthread

build: $(BPF_OBJECTS) $(NATIVE)/worker $(NATIVE)/libsplice.so ## compile the BPF programs and the C

# In this order whatever -j says: the compiler and the venv module come with the packages.
install: ## install all that is needed: Debian packages, .venv, BPF objects
	@tools/install.sh system
	@$(MAKE) --no-print-directory --silent .venv/installed build

demo: install ## scale a chain out and in under real traffic (PAPER=1: the paper's 35 s phases)
	@$(BIN)/python -m experiments.demo.run $(if $(PAPER),--paper) $(DEMO_ARGS)

testbed: install ## bring up the testbed and hold it, for the tutorial (TESTBED_ARGS="--nf suricata")
	@$(if $(findstring suricata,$(TESTBED_ARGS)),tools/install.sh ids)
	@$(BIN)/python -m topologies.testbed $(TESTBED_ARGS)

test: install ## run all tests (TESTS="tests/unit" or other pytest arguments narrow them)
	@tools/install.sh test
	@$(BIN)/python -m pytest $(TESTS)

lint: .venv/installed ## ruff, mypy and the rules of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/installed ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: .venv/installed ## write the reference pages that come from the code
	@$(BIN)/python -m tools.reference

chaos: install ## attack the promise: a simulator of the pair, real traffic under faults (LONG=1: ten times as much)
	@$(BIN)/python -m experiments.chaos.run $(if $(LONG),--sessions 1000000 --each 30) $(CHAOS_ARGS)

bench: install ## measure the parts (no benchmark is part of `make test`)
	@$(BIN)/python -m experiments.bench.run $(BENCH_ARGS)
	@CATENARY_CONFORMANCE_FRAMES=100000 $(BIN)/python -m pytest -q tests/vectors/test_conformance.py

bench-mgmt: install ## measure the management system: 1,000 chains, mixed load, kills, cool-downs
	@$(BIN)/python -m experiments.management.run $(BENCH_ARGS)

bench-ops: install ## measure operations: what dies is replaced in time, what grows
	@tools/install.sh test
	@$(BIN)/python -m experiments.operations.run $(BENCH_ARGS)

# Their NFs are bridges.
WITHOUT_IDS := baseline lb-alone

experiments: install ## redraw the paper's evaluation, all of it (EXPERIMENT_ARGS=--paper-scale: its own sizes)
	@tools/install.sh ids
	@$(BIN)/python -m experiments.evaluation.run $(EXPERIMENT_ARGS)

experiment: install ## one experiment of it (NAME=warm-up; without: what there is)
	@$(if $(filter-out $(WITHOUT_IDS),$(NAME)),tools/install.sh ids)
	@$(BIN)/python -m experiments.evaluation.run $(or $(NAME),--list) $(EXPERIMENT_ARGS)

report: .venv/installed ## one HTML page from all results: results/report.html
	@$(BIN)/python -m experiments.report.run $(REPORT_ARGS)

package: install ## build what is installed without a checkout: wheel and Debian packages, into dist/
	@tools/install.sh package
	@tools/package.sh

clean: ## remove what was built (the virtual environment too); Debian packages stay
	rm -rf .venv build dist results *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f $(BPF_OBJECTS) $(NATIVE)/worker $(NATIVE)/libsplice.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
