# Two commands: `make run` and `make test`. Everything lives inside this checkout; `make help` lists the rest.

.PHONY: help run demo-drift test down setup dev lock images lint types compile proto bench
.DEFAULT_GOAL := help

# A Python 3.11 to build the environments with; found by itself unless given: make run PYTHON=/path/to/python3.11
PYTHON ?=
DATA ?=
TARGET ?=
ARGS ?=

quote = '$(subst ','\'',$(1))'
ML := .venv/ml/bin
ORCHESTRATOR := .venv/orchestrator/bin

# A name on PATH may be a shim for a version that is not there: ask each before trusting it. One named on make's command
# line is the only one; PYTHON in the environment may be meant for others, so it is merely asked first.
define environments
set -- $(if $(PYTHON),$(call quote,$(PYTHON))) $(if $(and $(PYTHON),$(filter command,$(origin PYTHON))),,python3.11 python3 python); \
for python in "$$@"; do \
  if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
    PYTHONPATH=src exec "$$python" -m fleetml.stack.environments $(1); \
  fi; \
done; \
echo "error: FleetML is built for Python 3.11, which none of these is: $$*;" \
  'install it (Debian: apt-get install python3.11 python3.11-venv), or name it: make run PYTHON=/path/to/python3.11' >&2; \
exit 2
endef

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

setup: ## build .venv/ml and .venv/orchestrator from their locks
	@$(call environments)

dev: ## the same with the tools of the tests
	@$(call environments,--dev)

run: setup ## start the stack, train, serve; DATA=path TARGET=bandwidth|cpu|… ARGS="-p name=value"
	@$(ML)/fleetml train $(if $(DATA),--data $(call quote,$(DATA))) $(if $(TARGET),--target $(call quote,$(TARGET))) $(ARGS)

demo-drift: setup ## the closed loop shown end to end, in a stack of its own (docs/demo-drift.md); ARGS=--keep leaves that up
	@$(ML)/python -m benchmarks.demo_drift $(ARGS)

down: ## stop everything this checkout started
	@if [ -x $(ML)/fleetml ]; then $(ML)/fleetml down; \
	  for kept in "$${FLEETML_HOME:-.fleetml}"/demo-drift/*/stack.json; do \
	    [ ! -e "$$kept" ] || FLEETML_HOME="$${kept%/stack.json}" $(ML)/fleetml down; \
	  done; else echo 'nothing to stop: this checkout was never set up'; fi

test: dev lint types ## lint, types, import contracts, golden IR, every test, coverage
	@$(ML)/fleetml compile --check
	@sh tests/run.sh

lint: dev ## ruff and the import contracts
	@$(ML)/ruff check .
	@$(ML)/ruff format --check .
	@$(ML)/lint-imports --no-logo || $(ML)/lint-imports

types: dev ## mypy
	@$(ML)/mypy

compile: setup ## write dags/*/pipeline.yaml anew from pipeline.py
	@$(ML)/fleetml compile

proto: dev ## write the Python of the server's contracts anew from the .proto files
	@$(ML)/python -m fleetml.serving.proto

bench: setup ## speed of engine, ingest and serving on this machine
	@$(ML)/python -m benchmarks

UV_COMPILE = UV_FIND_LINKS="$$(python3 -m pip config get global.find-links 2>/dev/null)" \
  uv pip compile --quiet --upgrade --python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links

lock: ## resolve images/*/*.in anew (needs uv on PATH)
	@$(UV_COMPILE) --overrides images/ml/overrides.in images/ml/requirements.in -o images/ml/requirements.txt
	@$(UV_COMPILE) -c images/ml/requirements.txt images/ml/torch.in -o images/ml/torch.txt
	@$(UV_COMPILE) -c images/ml/requirements.txt images/ml/dev.in -o images/ml/dev.txt
	@$(UV_COMPILE) -c images/ml/requirements.txt --overrides images/serving/overrides.in images/serving/requirements.in -o images/serving/requirements.txt
	@$(UV_COMPILE) images/keras/requirements.in -o images/keras/requirements.txt
	@$(UV_COMPILE) images/orchestrator/requirements.in -o images/orchestrator/requirements.txt
	@$(UV_COMPILE) -c images/orchestrator/requirements.txt images/orchestrator/dev.in -o images/orchestrator/dev.txt

# Without a registry: BASE from images/base.sh. Behind a mirror: BUILD="--network host --secret id=pip,src=/etc/pip.conf
# --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt", and --build-arg TORCH_INDEX= where pip knows where torch is.
DOCKER ?= docker
BASE ?=
BUILD ?=

images: ## build fleetml/ml, fleetml/serving and fleetml/orchestrator (needs Docker with BuildKit, see images/README.md); BASE=image BUILD="flags"
	@for image in ml serving orchestrator; do \
	  DOCKER_BUILDKIT=1 $(DOCKER) build $(if $(BASE),--build-arg BASE=$(call quote,$(BASE))) $(BUILD) \
	    -f images/$$image/Dockerfile -t fleetml/$$image . || exit; \
	done
