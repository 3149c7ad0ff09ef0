# Everything runs in .venv, which the first target that needs it sets up; nothing outside this folder changes.
# Tools are called as `.venv/bin/python -m …`: the first line of a console script cannot hold a path with spaces.

PYTHON ?= python3
RANKS ?= 11
ARGS ?=
RUNS ?= 1000000

VENV_PYTHON := .venv/bin/python
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help train test test-cluster results-quick soak fuzz lint bench clean

help: ## Show this help
	@echo 'Targets:'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20
	@echo 'Variables:'
	@echo '  PYTHON=$(PYTHON)    the Python (3.11 or newer) that .venv is made from'
	@echo '  RANKS=$(RANKS)          MPI ranks of make train: the server and RANKS-1 that host clients'
	@echo '  RUNS=$(RUNS)     inputs of make fuzz'
	@echo '  ARGS=             more arguments, e.g. make train ARGS="--rounds 50", make test ARGS="-k topk"'

train: $(STAMP) ## Train with the defaults (digits, 11 ranks, about a minute)
	.venv/bin/mpirun -n $(RANKS) $(VENV_PYTHON) -m fedcomloc_mpi.train $(ARGS)

test: $(STAMP) ## Run the linters and every test, those under mpirun included
	$(VENV_PYTHON) -m tests.run -- $(ARGS)

test-cluster: $(STAMP) ## Run the tests that need root: SLURM, several hosts, other MPI libraries, lost ranks
	$(VENV_PYTHON) -m tests.cluster.run -- $(ARGS)

soak: $(STAMP) ## Hit jobs at random points, 50 times and more; write docs/results/reliability.md (a quarter of an hour)
	$(VENV_PYTHON) -m tests.soak.run --write docs/results/reliability.md $(ARGS)

lint: $(STAMP) ## Run the linters alone
	$(VENV_PYTHON) -m tests.run --tier lint

fuzz: $(STAMP) ## Fuzz the C decoders with clang's libFuzzer and sanitizers; write docs/results/reliability.md (RUNS=1000000)
	$(VENV_PYTHON) -m fuzz.run $(RUNS) --write docs/results/reliability.md

bench: $(STAMP) ## Measure what a round costs beyond the clients' computing (ARGS="--data-dir DIR", MNIST)
	PATH="$(CURDIR)/.venv/bin:$$PATH" $(VENV_PYTHON) -m bench.overhead $(ARGS)

results-quick: $(STAMP) ## The study of docs/results, small: 40 rounds, a quarter of an hour (ARGS="--data-dir DIR")
	$(VENV_PYTHON) -m bench.paper --rounds 40 --seeds 0 --results build/results-quick/paper --runs build/results-quick/runs $(ARGS)
	$(VENV_PYTHON) -m bench.paper_page --rounds 40 --seeds 0 --results build/results-quick/paper --title "The study, small"
	$(VENV_PYTHON) -m bench.collectives --quick --csv build/results-quick/collectives.csv

clean: ## Remove .venv, builds and caches (runs/ stays)
	rm -rf .venv build dist fedcomloc_mpi.egg-info fedcomloc_mpi/kernels/_codec*.so .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find bench fedcomloc_mpi fuzz tests -type d -name __pycache__ -prune -exec rm -rf {} +

# A .venv that was moved or copied together with its folder still points to the old place: set it up again.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

$(STAMP): setup.cfg setup.py pyproject.toml constraints.txt fedcomloc_mpi/kernels/codec.c
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is %s: name one with make PYTHON=..." % sys.version.split()[0])'
	"$(PYTHON)" -m venv .venv
	$(VENV_PYTHON) -m pip install --constraint constraints.txt setuptools
	$(VENV_PYTHON) -m pip install --constraint constraints.txt --no-build-isolation --editable '.[mpich,report,test]'
	@pwd -P >$(STAMP)
