# `make run` and `make test` set up everything they need in .venv; `make help` lists the rest.

# A fresh machine needs Python >= 3.11 and a package index; to use an environment of your own: make run VENV=
VENV ?= .venv
PYTHON ?= python3
BIN := $(if $(VENV),$(VENV)/bin/,)
READY := $(if $(VENV),$(VENV)/.ready,)
# An index with other builds of torch, such as those without CUDA; README says what is then not checked. A set-up keeps
# the one that it was made from, or begun from, when the pins have changed.
TORCH_INDEX ?= $(if $(VENV),$(firstword $(shell cat $(READY) $(VENV)/.unfinished 2>/dev/null)))
# What is set up stays, so that another torch is not taken in silence.
ifneq ($(and $(TORCH_INDEX),$(wildcard $(READY))),)
ifneq ($(shell cat $(READY)),$(TORCH_INDEX))
$(error $(VENV) has torch from elsewhere than TORCH_INDEX=$(TORCH_INDEX); remove it, or name another place for this one: VENV=.venv-other)
endif
endif
CORES ?= all
# Options for Snakemake, such as ARGS="--configfile config/quick.yaml".
ARGS ?=

# Snakemake keeps a cache at home; where nobody can write there, it gets a place here.
ifneq ($(shell mkdir -p "$${XDG_CACHE_HOME:-$$HOME/.cache}" 2>/dev/null && echo writable),writable)
export XDG_CACHE_HOME := $(CURDIR)/.snakemake/cache
endif

.DEFAULT_GOAL := help
.PHONY: help run quick try frameworks open test test-all test-faults report export compare history board board-check cluster lint audit format dry-run clean requirements release-check rulegraph

help:  ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-16s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY)  ## Set up, then download, shard, train, aggregate and report
	$(BIN)snakemake --cores $(CORES) $(ARGS)

quick: $(READY)  ## The same in about a minute, on a little synthetic data
	$(BIN)snakemake --cores $(CORES) --configfile config/quick.yaml $(ARGS)

# In a folder of its own, so that neither images nor results of other runs are made anew.
TRY = results/try
MODEL ?=
BATCH ?= 1000
# Further keys, such as CONFIG="dataset='{source: cifar10}'".
CONFIG ?=
try: $(READY)  ## Time a network of your own: make try MODEL=mine.py:network (docs/your-own.md)
	@[ -n "$(MODEL)" ] || { echo "name the network: make try MODEL=mine.py:network, or MODEL=torchvision:resnet18" >&2; exit 1; }
	@mkdir -p $(TRY)
	$(BIN)snakemake --cores $(CORES) --directory $(TRY) --configfile config/try.yaml $(ARGS) \
		--config "columns={model: '$(MODEL)', batch_size: $(BATCH)}" $(CONFIG)

# Some of them, such as FRAMEWORKS="jax keras"; none named means all. CUDA=1 and CUDA=0 insist, else a driver decides.
FRAMEWORKS ?=
CUDA ?= auto
frameworks:  ## Set up JAX and Keras in .frameworks, for the cells that name them (docs/frameworks.md)
	@PYTHON="$(PYTHON)" CUDA="$(CUDA)" sh workflow/frameworks.sh .frameworks $(FRAMEWORKS)

PAGE = results/report/index.html
open:  ## Open the page in a browser
	@[ -e $(PAGE) ] || { echo "$(PAGE): there is no page yet; run make run first" >&2; exit 1; }
	@$(PYTHON) -c 'import pathlib, sys, webbrowser; sys.exit(not webbrowser.open(pathlib.Path("$(PAGE)").resolve().as_uri()))' || \
		{ echo "no browser was found (BROWSER names one); the page is $(PAGE)" >&2; exit 1; }

test: $(READY)  ## Set up, then run the tests: under ten minutes on two cores
	$(BIN)python -m pytest -n auto $(ARGS)

test-all: $(READY)  ## Every test, those marked deep too, as CI does
	$(BIN)python -m pytest -n auto -m "" $(ARGS)

test-faults: $(READY)  ## Kill it, fill its disk, feed it nonsense: the fault suite alone
	$(BIN)python -m pytest -n auto -m fault $(ARGS)

report: $(READY)  ## Draw figure and page again from the records that exist; never trains
	$(BIN)snakemake --cores 1 report $(ARGS)

export: $(READY)  ## Pack the records that exist for other machines: results/export.zip
	$(BIN)snakemake --cores 1 export $(ARGS)

compare: $(READY)  ## Compare with an earlier export: make compare BASE=export.zip
	@sh workflow/compare.sh "$(patsubst %/,%,$(BIN))" "$(BASE)" $(ARGS)

history: $(READY)  ## Show the cells over many exports: make history EXPORTS='a.zip b.zip'
	$(BIN)snakemake --cores 1 history --config compare="{history: [$(shell echo $(EXPORTS) | tr ' ' ',')]}" $(ARGS)

# Each place in quotes, so that Snakemake gets patterns as they are.
comma := ,
quoted = $(subst ' ','$(comma)',$(patsubst %,'%',$(EXPORTS)))
PLACES = $(if $(EXPORTS),--config board="{exports: [$(quoted)]}")
board: $(READY)  ## Show the results of many exports: make board EXPORTS='a.zip folder'
	$(BIN)snakemake --cores $(CORES) board $(PLACES) $(ARGS)

board-check: $(READY)  ## Check exports for the board; fails where one is refused
	$(BIN)snakemake --cores $(CORES) board_check $(PLACES) $(ARGS)

cluster: $(READY)  ## Show what a Slurm cluster has and would accept: make cluster ARGS="--partition gpu"
	PYTHONPATH=workflow/scripts $(BIN)python -m epochbench.cluster $(ARGS)

lint: $(READY)  ## Check formatting, style, and the workflow itself
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(BIN)snakefmt --check Snakefile workflow/Snakefile workflow/rules
	$(BIN)snakemake --lint

audit: $(READY)  ## Check the pinned packages for known vulnerabilities
	sh workflow/audit.sh $(patsubst %/,%,$(BIN))

format: $(READY)  ## Format Python and Snakemake files, and write the tables of a cell's columns and of accelerators
	PYTHONPATH=workflow/scripts $(BIN)python -m epochbench.columns config/README.md
	PYTHONPATH=workflow/scripts $(BIN)python -m epochbench.timing.devices._table docs/devices.md
	$(BIN)ruff check --fix .
	$(BIN)ruff format .
	$(BIN)snakefmt Snakefile workflow/Snakefile workflow/rules

dry-run: $(READY)  ## Show what would be run
	$(BIN)snakemake --dry-run --cores $(CORES) $(ARGS)

release-check:  ## Say whether this commit can be released as the version in CITATION.cff
	@sh workflow/release_check.sh

rulegraph: $(READY)  ## Draw the graph of the rules: images/rulegraph.svg (needs graphviz)
	$(BIN)snakemake --forceall --rulegraph --config devices='{gpu: require}' | dot -Tsvg -o images/rulegraph.svg

clean:  ## Remove results and Snakemake's own files; the set-up stays
	rm -rf .snakemake
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +

# Each list of names and its pins: everything that runs the workflow, and the environments of the frameworks.
LISTS = requirements.in $(wildcard workflow/envs/frameworks/*.in)
requirements:  ## Pin requirements.in and the frameworks' lists anew, with hashes, and derive conda's environments (needs uv)
	for list in $(LISTS); do $(or $(wildcard $(BIN)uv),uv) pip compile --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --quiet "$$list" -o "$${list%.in}.txt" || exit; done
	$(PYTHON) workflow/envs/derive.py .

$(VENV)/.ready: requirements.txt workflow/setup.sh workflow/uv_install.py
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" sh workflow/setup.sh "$(VENV)" requirements.txt
