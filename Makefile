# `make help` says what there is.  Works with GNU make 3.81 (macOS) and newer; needs Python 3.11 or newer and git.

BOOTSTRAP := sh packaging/bootstrap.sh
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run test lint format build test-executable test-cluster torture screenshots bench-cron clean environment environment-dev browser mariadb executable pm2
.NOTPARALLEL:

help: ## say each target in a line
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

run: environment ## make the environment, migrate, and start web, daemon and worker in this terminal (PORT=3001)
	@exec $(BIN)/schedmgr up

# The executable and PM2 take minutes to prepare, and a cluster to lose its nodes: CI tests them each time, a person by
# `make test-executable` and `make test-cluster`.
test: environment-dev browser mariadb lint $(if $(filter true,$(CI)),executable pm2) ## lint, then test; what was left out stands above the last line
	$(BIN)/pytest -n 2 --dist worksteal -rs $(if $(filter true,$(CI)),--ignore=tests/cluster)
	$(if $(filter true,$(CI)),CLUSTER=true $(BIN)/pytest -rs tests/cluster)

lint: environment-dev ## check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: environment-dev ## bring the code into its style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

build: executable ## build the executable, dist/schedmgr/schedmgr
	@echo "dist/schedmgr: $$(du -sh dist/schedmgr | cut -f1), in dist/schedmgr/schedmgr and dist/schedmgr/_internal"

test-executable: environment-dev executable pm2 ## build the executable, and test it alone and under PM2
	$(BIN)/pytest -rs tests/system/test_executable.py

test-cluster: environment-dev mariadb ## test on a cluster of three database nodes, some of them killed
	CLUSTER=true $(BIN)/pytest -rs -k "not sqlite" tests/database tests/cluster

torture: environment-dev ## a storm over real processes, and the accounts after it (MINUTES=1 SEED=random DATABASE=both)
	PYTHONPATH=tests:tests/support $(BIN)/python -m torture \
		--minutes $(or $(MINUTES),1) $(if $(SEED),--seed $(SEED)) $(if $(DATABASE),--database $(DATABASE))

screenshots: environment-dev browser ## take a picture of each page in .cache/pictures, and the README's anew
	$(BIN)/pytest tests/browser/test_pictures.py
	mkdir -p docs/images
	cp .cache/pictures/schedules-desktop-light.png docs/images/schedules.png

bench-cron: environment-dev ## measure how many next runs a second come out of a cron expression
	$(BIN)/python bench/cron.py

clean: ## remove what was made here, but not the database
	rm -rf .venv .cache build dist schedmgr.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

environment:
	@$(BOOTSTRAP) environment .venv

environment-dev:
	@$(BOOTSTRAP) environment .venv dev

executable:
	@$(BOOTSTRAP) environment .cache/build executable
	.cache/build/bin/pyinstaller --noconfirm --log-level WARN --distpath dist --workpath build packaging/schedmgr.spec

browser mariadb pm2:
	@$(BOOTSTRAP) $@
