# The project's commands: `make help` lists them.
#
# Everything they install or write stays in the checkout, under .local/ (and .aws-sam/, node_modules/).
# Recipes use relative paths only, so that the checkout's own path may hold anything, spaces included.

# The host's Python to build on; once chosen (make PYTHON=python3.13 …) it is kept to.
PYTHON ?= $(shell command -v "$$(cat .local/python 2>/dev/null)" || echo python3)
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

# Caches and settings of the tools, which would otherwise go to the home directory.
export __SAM_CLI_APP_DIR := $(CURDIR)/.local/sam
export npm_config_cache := $(CURDIR)/.local/cache/npm
export PIP_CACHE_DIR := $(CURDIR)/.local/cache/pip
export UV_CACHE_DIR := $(CURDIR)/.local/cache/uv
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export SAM_CLI_TELEMETRY := 0
export UV_PYTHON_DOWNLOADS := never
# The machine's own certificates, which uv else passes over: a network may have one of its own.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS := 1
endif
# What the caller's shell may hold and an environment of ours must not see.
unexport PIP_PREFIX PIP_TARGET PIP_USER PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH VIRTUAL_ENV

UV := .local/venv/uv/bin/uv
LOCAL := .local/venv/development/bin/python -m
# sam and uv by name, for deploy.sh and for the layer's build inside `sam build`.
ON_PATH := PATH="$$PWD/.local/bin:$$PATH"
SUITES := $(sort $(notdir $(patsubst %/,%,$(dir $(wildcard tests/*/test_*.py)))))
PYTHON_CODE := $(wildcard functions layers contracts local order_capture_ops tests benchmarks)

# Variables become options by the shell's own variable of that name: no quote or dollar in a value is code.
option = $(if $($1),--$2="$$$1")
is = $(filter-out 0 no false,$($1))
flag = $(if $(call is,$1),--$2)

# A variable that no command knows is a slip of the finger: `make logs FUNCTON=x` would show all of them.
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
ifneq ($(GIVEN),)
KNOWN := $(sort PYTHON ARGS STACK $(shell grep -E '^[a-z.-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | grep -oE '[A-Z][A-Z_]*=' | tr -d =))
ifneq ($(filter-out $(KNOWN),$(GIVEN)),)
$(error Unknown: $(filter-out $(KNOWN),$(GIVEN)). `make help` lists what each command takes)
endif
endif

##@ Try it
run: setup ## set up, start the engine, deploy, and run the demo (PORT=4566, FRESH=1 forgets earlier data)
	@$(ON_PATH) $(LOCAL) local.run $(call option,PORT,port) $(call flag,FRESH,fresh)

stop: ## stop the engine, which keeps its data
	@if [ -e .local/venv/development/.ready ]; then $(LOCAL) local.engine stop; else echo "No engine runs here."; fi

env: .local/venv/development/.ready ## print what AWS's tools need to reach the engine: eval "$(make -s env)"
	@$(LOCAL) local.engine env

token: .local/venv/development/.ready ## print a header with an access token (CUSTOMER=alice, SCOPES="orders/read")
	@$(LOCAL) local.tokens $(call option,CUSTOMER,customer) $(call option,SCOPES,scopes)

follow: .local/venv/development/.ready ## print each event of an order as it happens (ORDER=id, or CUSTOMER=alice for all of hers)
	@$(LOCAL) local.follow $(call option,ORDER,order) $(call option,CUSTOMER,customer) $(call option,STACK,stack)

receiver: .local/venv/development/.ready ## print the webhooks that arrive (CUSTOMER=alice, or SECRET=whsec_… PORT=8000)
	@$(LOCAL) local.receiver $(call option,SECRET,secret) $(call option,CUSTOMER,customer) $(call option,PORT,port)

env.json: .local/venv/development/.ready ## write env.json for sam local (STACK=name for one on AWS)
	@$(LOCAL) local.env_json $(call option,STACK,stack)

bridge: .local/venv/development/.ready ## let containers reach the engine, until Ctrl-C: for sam local
	@$(LOCAL) local.bridge

##@ Operate it
# On the engine of this checkout, or on AWS with STACK=name and the usual profile and region. More by ARGS="--json".
# make exits with 2 whatever fails; `python -m order_capture_ops` itself tells 1 (something is wrong) from 2.
OPS = $(LOCAL) order_capture_ops
ON_STACK = $(call option,STACK,stack) $(ARGS)

status: .local/venv/development/.ready ## queues, dead letters and why, alarms, open orders, at one look (STACK=name on AWS, as below)
	@$(OPS) status $(ON_STACK)

logs: .local/venv/development/.ready ## the functions' logs (FUNCTION=name, ORDER=id, SINCE=10m, LINES=200, FOLLOW=1, JSON=1)
	@$(OPS) logs $(call option,FUNCTION,function) $(call option,ORDER,order) $(call option,SINCE,since) \
	    $(call option,LINES,lines) $(call flag,FOLLOW,follow) $(call flag,JSON,json) $(ON_STACK)

stuck: .local/venv/development/.ready ## list the orders that are open, and why
	@$(OPS) stuck $(ON_STACK)

watch: .local/venv/development/.ready ## have the watchdog check what is open, now (ORDERS="id …" for some)
	@set -f; $(OPS) watch $(ON_STACK) -- $(if $(ORDERS),$$ORDERS)

redrive: .local/venv/development/.ready ## move dead letters back (QUEUE=order_update, DRY_RUN=1, RATE=10, LIMIT=100)
	@$(OPS) redrive $(call flag,DRY_RUN,dry-run) $(call option,RATE,rate) $(call option,LIMIT,limit) $(ON_STACK) \
	    -- $(if $(QUEUE),"$$QUEUE")

audit: .local/venv/development/.ready ## replay every ledger, compare it with the orders
	@$(OPS) audit $(ON_STACK)

rebuild-history: .local/venv/development/.ready ## write what the ledgers have and their history lacks (DRY_RUN=1)
	@$(OPS) rebuild-history $(call flag,DRY_RUN,dry-run) $(ON_STACK)

republish: .local/venv/development/.ready ## publish the state of all accounts and stock again (DRY_RUN=1, RATE=100, ARGS=--stock)
	@$(OPS) republish $(call flag,DRY_RUN,dry-run) $(call option,RATE,rate) $(ON_STACK)

republish-events: .local/venv/development/.ready ## publish the events of orders again (SINCE=2h, ORDERS="id …", DRY_RUN=1, RATE=100)
	@set -f; $(OPS) republish-events $(call option,SINCE,since) $(call flag,DRY_RUN,dry-run) \
	    $(call option,RATE,rate) $(ON_STACK) -- $(if $(ORDERS),$$ORDERS)

check-reports: .local/venv/development/.ready ## compare the daily reports with the orders, event by event
	@$(OPS) check-reports $(ON_STACK)

rebuild-reports: .local/venv/development/.ready ## build the daily reports again from the orders, while everything runs
	@$(OPS) rebuild-reports $(ON_STACK)

##@ Work on it
# Two tests at a time, on engines of their own. The environment reaches the processes that tests start as well.
PYTEST = $(ON_PATH) TEST_DAY="$${DAY:-$$(date +%F)}" $(LOCAL) pytest

test: check node_modules/.ready ## check, then every suite and a part of each long proof, another each day (DAY=2026-11-28, ARGS="-k name")
	@TEST_PROFILE=fast $(PYTEST) --numprocesses=2 --no-loadscope-reorder $(ARGS)

prove: $(if $(call is,REST),setup,check) node_modules/.ready ## check, then every suite and proof in full (REST=1 what `make test` left out)
	@TEST_PROFILE=$(if $(call is,REST),rest,full) $(PYTEST) --numprocesses=2 --no-loadscope-reorder $(ARGS)

$(SUITES): setup node_modules/.ready
	@$(PYTEST) tests/$@ $(ARGS)

check: setup ## formatting, lint, types, and the template
	@$(MAKE) --jobs=2 --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync) $(CHECKS)

# The longest first.
CHECKS := translated-template types validated-template linted-template lint formatting
translated-template: ; @echo "── the translated template"; $(ON_PATH) PYTHONPATH=layers $(LOCAL) tests.template
types: ; @echo "── mypy"; $(LOCAL) mypy --no-error-summary $(PYTHON_CODE)
validated-template: ; @echo "── sam validate"; $(ON_PATH) sam validate --lint --template template.yaml --region us-east-1
linted-template: ; @echo "── cfn-lint"; .local/venv/development/bin/cfn-lint template.yaml
lint: ; @echo "── ruff check"; .local/venv/development/bin/ruff check --quiet $(PYTHON_CODE)
formatting: ; @echo "── ruff format"; .local/venv/development/bin/ruff format --check --quiet $(PYTHON_CODE)

format: .local/venv/development/.ready ## format the code and sort its imports
	@.local/venv/development/bin/ruff check --fix --quiet $(PYTHON_CODE) || true
	@.local/venv/development/bin/ruff format $(PYTHON_CODE)

docs: .local/venv/development/.ready .local/venv/docs/.ready ## write the API's documentation: one page, .local/docs/index.html
	@$(LOCAL) local.docs

baseline: .local/venv/development/.ready ## take swagger.yaml for what clients have, unless it breaks them
	@PYTHONPATH=layers $(LOCAL) contracts.http_baseline

schemas: .local/venv/development/.ready ## write schemas/ and asyncapi.yaml from contracts/, unless it breaks who knows them
	@PYTHONPATH=layers $(LOCAL) contracts

postman: .local/venv/development/.ready ## write the Postman collection's bodies from swagger.yaml's examples and postman/bodies.yaml
	@PYTHONPATH=layers $(LOCAL) contracts.postman

bench: setup ## what an order costs in units and dollars, import times, sizes (COST=1 only the first, JSON=1)
	@$(ON_PATH) PYTHONPATH=layers $(LOCAL) benchmarks $(call flag,COST,cost) $(call flag,JSON,json) $(ARGS)

flash-sale: setup ## sell a hot product in virtual time, on a model of AWS (SCENARIO=F3, SEED=n, CONCURRENCY=50, JSON=1, CHECK=1 fails if it is slow, PLOTS=1 draws it for the docs, STRIPES=off, SET="wcu_per_partition=500", ENV=dev, CONSTANTS=1)
	@PYTHONPATH=layers $(LOCAL) benchmarks.flash_sale $(call option,SCENARIO,scenario) $(call option,SEED,seed) \
	    $(call option,CONCURRENCY,concurrency) $(call option,STRIPES,stripes) $(call option,ENV,env) $(call option,SET,set) \
	    $(call flag,JSON,json) $(call flag,CHECK,check) $(call flag,PLOTS,plots) $(call flag,CONSTANTS,constants) $(ARGS)

simulate: setup ## run the pipeline under faults (SEEDS=10000, FIRST=0; SEED=n one again, MUTANTS=1, ARGS=--cells)
	@PYTHONPATH=layers $(LOCAL) tests.simulation $(call option,SEEDS,seeds) $(call option,FIRST,first) \
	    $(call option,SEED,seed) $(call flag,MUTANTS,mutants) $(ARGS)

fuzz: setup ## random requests by the contract, and against it, to a stack of their own (N=10000, SEED=n)
	@$(ON_PATH) PYTHONPATH=layers $(LOCAL) tests.fuzz $(call option,N,cases) $(call option,SEED,seed) $(ARGS)

lock: .local/venv/uv/.ready ## pin requirements/*.in anew, with hashes (UPGRADE=1 takes newer versions)
	@cd requirements && for input in functions tokens development engine sam docs uv; do \
	    echo "requirements/$$input.txt"; \
	    ../$(UV) pip compile $$input.in --output-file $$input.txt --quiet --generate-hashes --universal \
	        --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	        --custom-compile-command "make lock" $$([[ $$input != docs ]] || echo --no-deps) $(if $(UPGRADE),--upgrade); \
	done
	@npm install --package-lock-only --silent

clean: stop ## stop the engine and remove everything that was made
	@rm -rf .local .aws-sam .hypothesis node_modules
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} \
	    /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	    /^[a-z.-]+:.*## / { \
	        line = sprintf("  make %-17s", substr($$0, 1, index($$0, ":") - 1)); words = split($$2, word, " "); \
	        for (i = 1; i <= words; i++) { \
	            if (length(line " " word[i]) > 80) { print line; line = sprintf("%24s", "") } \
	            line = line " " word[i] \
	        } \
	        print line \
	    }' $(firstword $(MAKEFILE_LIST))
	@echo; echo "One suite in full: make" $(SUITES) | sed 's/ make / make SUITE, one of /' | fold -s -w 80

# Environments: one per tool that pins what another pins differently, installed when its requirements change.

setup: .local/venv/uv/.ready ## install the tools, here; the other commands do it when it is needed
	@$(MAKE) --silent --jobs=3 $(patsubst %,.local/venv/%/.ready,development docs engine sam)

# An environment holds the path of its Python and its own, so it is made anew when either has changed.
.local/host: FORCE
	@fail() { echo "make: $$1" >&2; exit 1; }; \
	command -v $(PYTHON) >/dev/null || fail "$(PYTHON) is not installed: Python 3.11 or newer is needed"; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || fail "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1): try make PYTHON=python3.13"; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	    || fail "Python's venv module is missing: on Debian or Ubuntu, apt-get install python3-venv"
	@mkdir -p .local/bin; host="$$($(PYTHON) -c 'import sys; print(sys.executable, sys.version)') $$PWD"; \
	cmp -s $@ <<<"$$host" || { cat >$@ <<<"$$host"; echo '$(PYTHON)' >.local/python; }

.local/venv/uv/.ready: requirements/uv.txt .local/host
	@echo "Setting up in .local/, which only a change in requirements/ repeats"; started=$$SECONDS; \
	rm -rf $(@D); $(PYTHON) -m venv $(@D); \
	$(@D)/bin/python -m pip install --quiet --require-hashes --requirement $<; \
	ln -sf ../venv/uv/bin/uv ../venv/sam/bin/sam .local/bin/; \
	touch $@; echo "  installer $$((SECONDS - started)) s"

# One package that carries the page's script: what it depends on would only serve it (see requirements/docs.in).
.local/venv/docs/.ready: UV_FLAGS := --no-deps
# The engine's packages are imported by every function's process: compiled ahead they start half a second sooner.
.local/venv/engine/.ready: UV_FLAGS := --compile-bytecode
.local/venv/%/.ready: requirements/%.txt .local/venv/uv/.ready
	@started=$$SECONDS; \
	$(UV) venv --quiet --clear --python .local/venv/uv/bin/python $(@D); \
	$(UV) pip install --quiet --python $(@D)/bin/python --require-hashes $(UV_FLAGS) --requirement $<; \
	touch $@; echo "  $* $$((SECONDS - started)) s"

# Test tools that are on npm only. Without npm, what needs them says so and is skipped.
node_modules/.ready: package-lock.json
	@if ! command -v npm >/dev/null; then echo "npm is not installed: tests that need its packages will be skipped" >&2; exit; fi; \
	started=$$SECONDS; npm ci --loglevel=error >/dev/null; touch $@; echo "  npm packages $$((SECONDS - started)) s"

FORCE:
.PHONY: audit baseline bench bridge check check-reports clean docs env env.json flash-sale follow format fuzz help lock logs receiver
.PHONY: rebuild-history rebuild-reports redrive republish republish-events run schemas setup simulate status stop
.PHONY: postman prove stuck test token watch FORCE $(SUITES) $(CHECKS)
