# Two commands do everything from nothing:
#   make demo    a running lab of six hosts, every pattern deployed, its demos played and judged
#   make test    all of that, and every test
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# SUITE=trixie: hosts with Debian 13, as a lab of their own beside the others.
SUITE ?= bookworm
INVENTORY ?= inventory/$(SUITE:bookworm=local)
VENV := .venv
BIN := $(VENV)/bin
FAB := $(BIN)/fab
READY := $(VENV)/.locked
# What `make test-vms` runs; patterns that inventory/vagrant does not place are skipped. Where machines
# are emulated each second counts: leader_election is demo enough of ZooKeeper.
ON_VMS := tests/vms tests/demos/test_demos.py -k 'not zookeeper'
# A lab is one worker's, whatever their number (tests/conftest.py); most of a host test is waiting.
WORKERS := --numprocesses 2 --no-loadscope-reorder

# Bytecode is kept, or each of the many processes that these commands start compiles Ansible anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check lint format bench box test-vms down lock clean

help: ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(READY) ## Boot, deploy, play all demos; the lab stays up
	@lab/bootstrap.sh hosts
	$(FAB) up --inventory $(INVENTORY)
	$(FAB) deploy --inventory $(INVENTORY)
	$(FAB) run-demo --inventory $(INVENTORY)
	@sed -n '/^## Next/,/^## [^N]/p' README.md | sed '1d;/^## /d'

test: lint ## Everything: lint, unit, simulation, hosts and demos
	@lab/bootstrap.sh hosts test
	$(FAB) up --inventory $(INVENTORY)
	$(FAB) deploy --inventory $(INVENTORY)
	$(BIN)/pytest tests $(WORKERS) --ansible-inventory $(INVENTORY)

check: lint ## The part that needs no root: lint, unit, simulation
	$(BIN)/pytest tests/unit tests/simulation $(WORKERS)

lint: $(READY) ## Style, types, Ansible, YAML and shell
	@lab/bootstrap.sh lint
	$(BIN)/python -m lab.interfaces
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline --strict
	git ls-files '*.sh' .ci/run | xargs shellcheck

format: $(READY) ## Put the sources into the project's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Measure, beside the named peers
	@lab/bootstrap.sh hosts bench
	$(BIN)/python -m benchmarks

box: $(READY) ## The disk of the machines that `vagrant up` boots
	@lab/bootstrap.sh vms
	$(BIN)/python -m lab.box

test-vms: box ## On three virtual machines: deploy, host checks, demos; then they are gone
	$(BIN)/python -m lab.box.lifetime $(BIN)/pytest $(ON_VMS) --ansible-inventory inventory/vagrant

down: $(READY) ## Stop the lab; WIPE=--wipe throws its disks away as well
	$(FAB) down --inventory $(INVENTORY) $(WIPE)

lock: $(READY) ## Lock the versions anew: requirements.lock here, requirements-hosts.lock there
	$(BIN)/uv pip compile --quiet --upgrade pyproject.toml --all-extras --group dev \
	    --universal --generate-hashes --python-version 3.11 -o requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade pyproject.toml --all-extras --group host \
	    --universal --generate-hashes --python-version 3.11 -o requirements-hosts.lock

clean: ## Forget what was built here; hosts and images stay
	rm -rf $(VENV) .lab/build .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The locked virtual environment. uv comes first, by its own lines of the lock, and fills it.
$(READY): requirements.lock
	@lab/bootstrap.sh python
	python3 -m venv $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
	@touch $@
