# A fresh machine needs git, make and Python >= 3.11; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
# Two processes take the tests file by file, in the order of tests/conftest.py.
TESTS = PATH="$(PATH):/usr/sbin:/sbin" $(BIN)/pytest -q --durations=25 -n 2 --dist loadfile --no-loadscope-reorder
SYNCED := .venv/.synced
INSTALLED := .venv/.installed
PEERS := bench bench-tiatoolbox
JUDGES := bioimageio torch27
SITE := .site

# Steps of the graph find the environment's programs as if it were activated.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: help demo test test-faults test-slurm test-apart test-long test-exports test-gpu test-browser lint format docs lock env bench bench-quick quality site

help:
	@echo "make demo    run the whole chain on the bundled images"
	@echo "make test    run the tests, fast ones first"
	@echo "make test-faults  what happens after kills, full disks, damaged files and the like; the presets, end to end"
	@echo "make test-slurm  the tests that start a SLURM cluster on this machine (root; Debian's slurm-wlm and munge)"
	@echo "make test-long  stories of several runs, all benchmarks without peers; not in .ci/run"
	@echo "make test-apart  both of them, around one run of the graph"
	@echo "make test-exports  what the BioImage Model Zoo's own test and QuPath's PyTorch say of exports (a download of 4 GB)"
	@echo "make test-gpu  what a GPU has to show, in five minutes (docs/gpu.md); without one it says so"
	@echo "make test-browser  the viewer as a person meets it, in headless Chromium (Debian's chromium)"
	@echo "make lint    check style, types, workflow and generated files"
	@echo "make format  format Python and Snakemake files"
	@echo "make docs    write schemas and config/README.md anew"
	@echo "make site    build the pages of docs/ into .site/html and check their links, without a network"
	@echo "make bench   measure against other programs, for hours (ARGS=\"--rows rle --repeats 1\"; benchmarks/README.md)"
	@echo "make quality compare recipes on real sets, for an hour (ARGS=\"--data FOLDER --sets hgsc\"; quality)"
	@echo "make lock    compile the requirements*.lock anew"
	@echo "make env     make .venv"

demo: $(INSTALLED)
	$(BIN)/snakemake --cores all

test: $(INSTALLED)
	$(TESTS)

test-faults: $(INSTALLED)
	$(TESTS) -m faults

test-slurm: $(INSTALLED)
	$(TESTS) -m slurm tests/slurm

test-long: $(INSTALLED)
	$(TESTS) -m long

test-apart: $(INSTALLED)
	$(TESTS) -m "faults or slurm"

test-exports: $(INSTALLED) $(JUDGES:%=.venv-%/.synced)
	$(TESTS) -m faults tests/faults/test_exports.py

test-gpu: $(INSTALLED)
	$(BIN)/pytest -q -s -m gpu tests/gpu

test-browser: $(INSTALLED)
	$(BIN)/pytest -q -m browser tests/browser

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/python docs/generate.py --check

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

docs: $(INSTALLED)
	$(BIN)/python docs/generate.py

lock: $(SYNCED)
	$(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --all-extras --group dev pyproject.toml \
	    -o requirements.lock --python-version 3.11
	for group in $(PEERS) $(JUDGES) site; do \
	    $(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --group $$group \
	        -o requirements-$$group.lock --python-version 3.11 || exit; \
	done

bench: $(INSTALLED) $(PEERS:%=.venv-%/.synced)
	$(BIN)/python benchmarks $(ARGS)

bench-quick: $(INSTALLED)
	$(BIN)/python benchmarks --quick $(ARGS)

quality: $(INSTALLED)
	$(BIN)/python quality $(ARGS)

# A warning is an error; an earlier build would hide those of pages that did not change.
site: .venv-site/.synced
	rm -rf $(SITE)
	.venv-site/bin/sphinx-build -W -n --keep-going -q -j auto -b html -d $(SITE)/doctrees -c docs/site . $(SITE)/html
	.venv-site/bin/python docs/links.py $(SITE)/html

env: $(INSTALLED)

$(BIN)/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tilewright needs Python >= 3.11: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

# The sync removes what the lock does not name, hence the package as well: it is installed again after it.
$(SYNCED): requirements.lock | $(BIN)/uv
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	touch $@

$(INSTALLED): pyproject.toml $(SYNCED)
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps -e .
	touch $@

# What the pages are built with: without it there is no site.
.venv-site/.synced: requirements-site.lock | $(BIN)/uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-site
	$(BIN)/uv pip sync --quiet --python .venv-site/bin/python --require-hashes --compile-bytecode $<
	touch $@

# Programs to compare with; the table says which could not be installed.
.venv-%/.synced: requirements-%.lock | $(BIN)/uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-$*
	$(BIN)/uv pip sync --quiet --python .venv-$*/bin/python --require-hashes --compile-bytecode $< && touch $@ \
	    || echo "requirements-$*.lock cannot be installed; its programs are left out of the table"
