# millpond: build, test and try it. `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test misuse bench campaigns models coverage forge fuzz mutants tsan tools install fmt lint clean

# Where `make install` puts the C library, its headers, the pkg-config file and the CMake package.
PREFIX ?= /usr/local
# What `make demo` reads; empty: the Python standard library of this machine.
DIR ?=
# STRICT=1: a check that had to be skipped fails the run.
STRICT ?=
# How long `make fuzz` fuzzes, in seconds.
SECONDS ?= 600
# FILE=words: only mutants of source files whose path contains one of the words; AGAIN=1: those that survived before too.
FILE ?=
AGAIN ?=
# QUICK=1: `make bench` in under three minutes. ONLY=words: only programs and works so named. KEEP=1: copy the results to tests/bench/results. MINUTES=N: the most a full run takes beside its set-up, 75 unless given; with less it makes fewer rounds.
QUICK ?=
ONLY ?=
KEEP ?=
# PART=name: only the parts of `make test` whose name contains it.
PART ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile

demo: ## the main job in five languages, side by side: make demo [DIR=...]
	@bash tests/tools/prerequisites.sh
	@"$$(bash tests/tools/prerequisites.sh --python)" tests/demo/demo.py $(if $(DIR),"$(DIR)")

test: ## every check there is: make test [STRICT=1] [PART=...]
	@STRICT=$(STRICT) bash tests/tools/test.sh "$(PART)"

misuse: ## twelve kinds of bug in every language, and what each mode and tool says of them
	@bash tests/tools/prerequisites.sh
	@"$$(bash tests/tools/prerequisites.sh --python)" tests/misuse/misuse.py

bench: ## millpond beside its rivals in every language: make bench [QUICK=1] [ONLY=word,...] [KEEP=1]; on a quiet machine
	@bash tests/tools/prerequisites.sh
	@"$$(bash tests/tools/prerequisites.sh --python)" tests/bench/bench.py $(if $(filter-out 0,$(QUICK)),--quick) $(if $(ONLY),--only "$(ONLY)") $(if $(filter-out 0,$(KEEP)),--keep)

campaigns: ## forks, threads, loading and worn out slots in large numbers; about ten minutes
	@bash tests/campaigns/processes.sh

models: ## interleavings and schedules of the protocols, and more of them: LIMIT=60 seconds for each model and bound, 70 minutes at most
	@bash tests/models/run.sh long

forge: ## guess handles: 10^9 guesses in Rust, 10^8 in C; about six minutes
	@bash tests/campaigns/forge.sh

fuzz: ## fuzz the C library under AddressSanitizer: make fuzz [SECONDS=N], N seconds in all
	@SECONDS_EACH=$$(( ($(SECONDS) + 7) / 8 )) bash tests/fuzz/run.sh

coverage: ## lines and branches of core and ffi-c that the tests reach, with floors; about fifteen minutes
	@bash tests/coverage/run.sh

mutants: ## small bugs in core and ffi-c that a test must find: make mutants [FILE=...] [AGAIN=1]; hours, goes on where it stopped
	@AGAIN=$(AGAIN) "$$(bash tests/tools/prerequisites.sh --python)" tests/mutants/run.py $(FILE)

tsan: ## C threads on the static library under ThreadSanitizer, twenty times as long as in make test
	@TIMES=20 bash tests/campaigns/tsan.sh

tools: ## install what the checks use beside the compilers (apt; does nothing when all is there): make tools [FOR=coverage]
	@bash tests/tools/tools.sh

install: ## install the C and C++ library: make install PREFIX=...
	@PREFIX="$(PREFIX)" bash ffi-c/install.sh

fmt: ## format the Rust code
	cargo fmt --all

lint: ## rustfmt and clippy, warnings as errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

clean: ## remove everything that was built
	cargo clean
