# Everything a fresh machine with Python (3.10 or later) and a Rust toolchain needs: `make demo`, `make test`.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# The release build: an evaluator is judged by its speed, and the tests step millions of rows.
EXTENSION := python/qsql/_core.abi3.so
SOURCES := Cargo.toml Cargo.lock pyproject.toml python/qsql/_core.pyi $(shell find rust -name '*.rs')

.DEFAULT_GOAL := help
.PHONY: help build demo test test-ml coverage loop wheel wheel-test check format bench fuzz fuzz-text fuzz-canonical clean toolchain

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-10s %s\n", $$1, $$2}' Makefile

toolchain:
	@command -v cargo >/dev/null || { echo "error: no Rust toolchain found; install it from https://rustup.rs (rustc 1.89 or later), then run make again" >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) found; install Python 3.10 or later" >&2; exit 1; }

# Enough to build and to score, so that `make demo` waits for nothing else.
$(BIN)/maturin: pyproject.toml | toolchain
	$(PYTHON) -m venv .venv
	$(BIN)/python -c 'import tomllib as t' 2>/dev/null || $(BIN)/pip install --quiet tomli
	$(BIN)/pip install --quiet $$($(BIN)/python -c "$$REQUIREMENTS")
	@touch $@

# What linters, tests and benchmarks need beyond that.
TOOLS := .venv/.tools
$(TOOLS): $(BIN)/maturin
	$(BIN)/pip install --quiet $$($(BIN)/python -c "$$REQUIREMENTS" data report dev)
	@touch $@

define REQUIREMENTS
import sys
try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
builder = [requirement for requirement in extras["dev"] if requirement.startswith("maturin")]
needed = sum((extras[name] for name in sys.argv[1:]), project["dependencies"] + builder)
print(*(requirement.replace(" ", "") for requirement in needed))
endef
export REQUIREMENTS

$(EXTENSION): $(SOURCES) $(BIN)/maturin | toolchain
	VIRTUAL_ENV=$(CURDIR)/.venv PIP_QUIET=1 $(BIN)/maturin develop --release --quiet
	@touch $@

build: $(EXTENSION) ## Create .venv and build the extension into it

demo: build ## Score two sets of predictions on the data set that comes along
	$(BIN)/qsql demo

test: check ## Run linters and all tests; with QSQL_SPIDER_DIR also parity with the official verdicts
	cargo test --quiet
	$(BIN)/python -m pytest --quiet

# LLaMA-Factory names torchaudio, torchvision and a web interface among its needs, which training text does not have. So it
# is installed without them. Its TRL does not load GRPOTrainer with the transformers that it takes, so a newer one lies in a
# folder beside it. PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu gets a torch without CUDA.
ML_BIN := .venv-ml/bin
ML_ENVIRONMENT := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

$(ML_BIN)/llamafactory-cli: tests/ml/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: LLaMA-Factory needs Python 3.11 or later; make test-ml PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv-ml
	$(ML_BIN)/pip install --quiet -r tests/ml/requirements.txt
	$(ML_BIN)/pip install --quiet --no-deps llamafactory==0.9.5
	$(ML_BIN)/pip install --quiet --no-deps --target .venv-ml/rl trl==1.16.0
	@touch $@

test-ml: build $(ML_BIN)/llamafactory-cli ## Run the tests of training and generation, with tiny models on the CPU
	$(ML_BIN)/python -c 'import pathlib, site; pathlib.Path(site.getsitepackages()[0], "qsql.pth").write_text("$(CURDIR)/python\n")'
	$(ML_ENVIRONMENT) $(ML_BIN)/python -m pytest --quiet -W default tests/ml

# The lines of Rust and Python that the tests run, in processes that they start too. The extension that counts lies in a copy
# of the package, which comes first on the path; the build of `make build` stays as it is.
COVERED := $(CURDIR)/target/coverage
COUNTED := RUSTFLAGS=-Cinstrument-coverage CARGO_TARGET_DIR=$(COVERED)/cargo CARGO_PROFILE_DEV_OPT_LEVEL=1
MEASURED = COVERAGE_FILE=$(COVERED)/lines/python LLVM_PROFILE_FILE=$(COVERED)/profiles/$(1)-%4m.profraw

coverage: build $(TOOLS) ## Tell which lines the tests run; with .venv-ml also those of `make test-ml`
	$(BIN)/python tests/coverage_by_folder.py tools
	rm -rf $(COVERED)/wheel $(COVERED)/package
	$(COUNTED) $(call MEASURED,build) $(BIN)/maturin build --quiet --out $(COVERED)/wheel
	$(COUNTED) $(call MEASURED,build) cargo test --quiet --lib --tests --no-run --message-format=json >$(COVERED)/binaries.json
	rm -rf $(COVERED)/profiles $(COVERED)/lines
	$(BIN)/python -m zipfile -e $(COVERED)/wheel/*.whl $(COVERED)/package
	$(COUNTED) $(call MEASURED,rust) cargo test --quiet --lib --tests
	PYTHONPATH=$(COVERED)/package $(call MEASURED,core) $(BIN)/coverage run -m pytest --quiet
	$(if $(wildcard $(ML_BIN)/llamafactory-cli),PYTHONPATH=$(COVERED)/package $(call MEASURED,ml) $(ML_ENVIRONMENT) \
	  $(ML_BIN)/coverage run -m pytest --quiet -W default tests/ml,@echo "without .venv-ml, which \`make test-ml\` creates: tests/ml do not run")
	$(call MEASURED,report) $(BIN)/coverage combine --quiet
	$(call MEASURED,report) $(BIN)/coverage json --quiet -o $(COVERED)/python.json
	$(BIN)/python tests/coverage_by_folder.py report $(COVERED)

loop: build $(ML_BIN)/llamafactory-cli ## Prepare, train, generate and score with a tiny model on the CPU
	$(ML_BIN)/python -c 'import pathlib, site; pathlib.Path(site.getsitepackages()[0], "qsql.pth").write_text("$(CURDIR)/python\n")'
	benches/loop.sh

# Linked against glibc 2.17, by Zig, so that the wheel installs on every Linux since 2014. Elsewhere the system's own
# linker does. Each file is installed into an empty environment and tried there.
WHEEL_BIN := .venv-wheel/bin
MANYLINUX := $(if $(filter Linux,$(shell uname)),--zig --compatibility manylinux2014)

$(WHEEL_BIN)/maturin: tests/wheel/requirements.txt | toolchain
	$(PYTHON) -m venv .venv-wheel
	$(WHEEL_BIN)/pip install --quiet -r tests/wheel/requirements.txt
	@touch $@

wheel: $(WHEEL_BIN)/maturin ## Build wheel and sdist into dist/, check them, and try both under all Pythons found
	rm -rf dist
	PATH="$(CURDIR)/$(WHEEL_BIN):$$PATH" maturin build --quiet --release --out dist $(MANYLINUX)
	$(WHEEL_BIN)/maturin sdist --out dist
	$(PYTHON) tests/wheel/contents.py dist/*
	$(WHEEL_BIN)/twine check --strict dist/*
	$(WHEEL_BIN)/abi3audit --strict dist/*.whl
	$(if $(MANYLINUX),$(WHEEL_BIN)/auditwheel show dist/*.whl)
	$(PYTHON) tests/wheel/smoke.py dist/*.whl
	$(PYTHON) tests/wheel/smoke.py dist/*.whl --others all
	$(PYTHON) tests/wheel/smoke.py dist/*.tar.gz

wheel-test: build ## Try a wheel of this build under the newest other Python that is found
	rm -rf target/wheels
	PIP_QUIET=1 $(BIN)/maturin build --quiet --release --out target/wheels
	$(PYTHON) tests/wheel/contents.py target/wheels/*.whl
	$(PYTHON) tests/wheel/smoke.py target/wheels/*.whl --others newest

# Workflows are checked by jactionlint, a fork of actionlint that the index has whole; the original is run by ci.yml.
check: build $(TOOLS) ## Run all linters and type checks, and look after the links of the documents
	cargo fmt --check
	cargo clippy --quiet --all-targets --features python -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps
	$(BIN)/ruff check --quiet python tests benches
	$(BIN)/ruff format --check --quiet python tests benches
	$(BIN)/mypy --no-error-summary
	$(BIN)/python -m mypy.stubtest qsql._core --ignore-disjoint-bases
	$(BIN)/shellcheck .ci/run benches/*.sh
	PATH="$(CURDIR)/$(BIN):$$PATH" jactionlint
	$(BIN)/zizmor --quiet --offline .github
	$(BIN)/python -m pytest --quiet --no-header tests/test_links.py

format: build $(TOOLS) ## Format all code
	cargo fmt
	$(BIN)/ruff check --quiet --fix python tests benches
	$(BIN)/ruff format --quiet python tests benches

# `make bench SOAK_SCORINGS=1000000` scores the million of the README.
SOAK_SCORINGS ?= 100000

bench: build $(TOOLS) ## Measure; with QSQL_SPIDER_DIR also on Spider
	$(BIN)/python benches/speed.py
	$(BIN)/python benches/rewards.py
	$(BIN)/python benches/hostile.py
	$(BIN)/python benches/soak.py --scorings $(SOAK_SCORINGS)

# Coverage for libFuzzer with the toolchain at hand. With a target named, build scripts are left without it.
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares
FUZZ_SECONDS ?= 1800
FUZZ_FORMS ?= 1000000
FUZZ_SEED ?= $(shell date +%s)

fuzz: fuzz-text fuzz-canonical ## Fuzz everything that reads text, for FUZZ_SECONDS (1800), and canonical forms

fuzz-text: | toolchain
	mkdir -p tests/fuzz/corpus tests/fuzz/artifacts
	cd tests/fuzz && RUSTFLAGS="$(FUZZ_FLAGS)" cargo run --release --quiet --bin text \
	  --target $$(rustc -vV | sed -n "s/^host: //p") -- corpus seeds \
	  -max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=4096 -artifact_prefix=artifacts/ -print_final_stats=1

fuzz-canonical: | toolchain ## Compare FUZZ_FORMS (1000000) canonical forms with their queries on random databases
	QSQL_SEED=$(FUZZ_SEED) QSQL_CHANGED_FORMS=$(FUZZ_FORMS) QSQL_THREADS=$$(getconf _NPROCESSORS_ONLN) \
	  cargo test --release --quiet --test canonical -- --nocapture

clean: ## Remove everything that was built
	rm -rf target dist .venv .venv-ml .venv-wheel qsql-demo qsql-tiny qsql-loop qsql-grpo $(EXTENSION)
