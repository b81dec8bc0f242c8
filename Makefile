# make demo: the app on http://127.0.0.1:7860 with the built-in model.  make test: all tests.  make check: what CI runs.
PYTHON ?= python3
BIN := .venv/bin
REQUIREMENTS := requirements.txt requirements-dev.txt requirements-films.txt

.PHONY: setup demo test check

setup: .venv/ready

# torch goes first, so that nothing else can draw in another build of it.
.venv/ready: $(REQUIREMENTS)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements.txt)"
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-films.txt
	touch $@

demo: setup
	$(BIN)/python app.py --model embedded

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy streamchat evaluation app.py
	$(MAKE) test
