# make run    a DICOMweb gateway with a PACS to talk to, on 127.0.0.1:8081
# make viewer the same with a viewer, OHIF, on http://127.0.0.1:8081/viewer; needs npm
# make test   everything: style, types, floors, tests, coverage, real peers
# make bench  ratios against peers, medians of five
# make fuzz   hostile bytes against the upper layer, the data set readers and what comes over HTTP, SECONDS (60) each
# make soak   mixed load with faults for MINUTES (10); fails when memory, descriptors, associations or spool have grown
# make docs   the manual, in docs/_build

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN_STAMP := $(VENV)/.installed-to-run
# Real peers: Orthanc and DCMTK. REQUIRE_INTEROP=1 makes their absence a failure instead of a skip.
REQUIRE_INTEROP ?=
SECONDS ?= 60
MINUTES ?= 10

.PHONY: run viewer test lint unit peers fuzz bench soak docs clean

run: $(RUN_STAMP)
	@$(BIN)/python etc/demo/welcome.py
	exec $(BIN)/twistd -n --pidfile= harmonygw -c etc/demo/config.toml

viewer: $(RUN_STAMP)
	@sh etc/viewers/ohif/install.sh var/viewer
	@$(BIN)/python etc/demo/welcome.py
	@echo "The viewer: http://127.0.0.1:8081/viewer"
	HARMONYGW_DEMO=viewer exec $(BIN)/twistd -n --pidfile= harmonygw -c etc/demo/config.toml

test: $(STAMP) peers lint unit fuzz

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(STAMP)
	rm -f .coverage .coverage.*
	HARMONYGW_REQUIRE_INTEROP=$(REQUIRE_INTEROP) $(BIN)/coverage run -m pytest
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --include='harmonygw/dicom/*' --fail-under=100
	$(BIN)/coverage report --omit='harmonygw/dicom/*' --fail-under=90

peers:
	@sh tests/interop/install_peers.sh "$(REQUIRE_INTEROP)"

fuzz: $(STAMP)
	$(BIN)/pip install -q --config-settings editable_mode=compat -e '.[fuzz]'
	$(BIN)/python -m fuzz --seconds $(SECONDS)

bench: $(STAMP) peers
	$(BIN)/python -m bench

soak: $(STAMP) peers
	$(BIN)/python -m soak --minutes $(MINUTES)

docs: $(STAMP)
	$(BIN)/pip install -q '.[docs]'
	$(BIN)/sphinx-build -W -q docs docs/_build

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# compat: the default editable install hides twisted/plugins from twistd.
$(RUN_STAMP): setup.cfg | $(VENV)/bin/python
	$(BIN)/pip install -q --config-settings editable_mode=compat -e '.[pixels]'
	touch $@

$(STAMP): setup.cfg | $(VENV)/bin/python
	$(BIN)/pip install -q --config-settings editable_mode=compat -e '.[test]'
	touch $@ $(RUN_STAMP)
