# make demo   set everything up, train three decoders on the embedded dataset, compare them
# make test   set everything up, run the tests;  make test-slow  the long tests
# make check  lint, types and import rules;      make docs  the documentation as a site
# make clean  remove what these made
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
TOOLS := .venv/.tools
DEMO := fcn32s fcn8s segnet

.PHONY: demo test test-slow check docs clean

demo: $(READY)
	@for decoder in $(DEMO); do \
		$(BIN)/segkit train configs/streets/$$decoder.yaml --run runs/demo/$$decoder --overwrite || exit $$?; done
	@$(BIN)/segkit compare $(DEMO:%=runs/demo/%) --out runs/demo

# a worker per core, a thread per worker
test: $(TOOLS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" -n auto --dist loadfile

test-slow: $(TOOLS)
	$(BIN)/python -m pytest -q -m slow

check: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(TOOLS)
	$(BIN)/mkdocs build --quiet --strict
	@echo "open site/index.html"

# The lock first, then segkit as it is here. Modules are compiled when they are first imported: most never are.
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "segkit needs Python 3.11 or newer; set PYTHON=python3.12 or the like"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-compile --no-deps -e .
	@touch $(READY)

# what tests, checks and docs need besides
$(TOOLS): $(READY) requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-compile -r requirements.txt -r requirements-dev.txt
	@touch $(TOOLS)

clean:
	rm -rf .venv site runs/demo .pytest_cache .ruff_cache .hypothesis
