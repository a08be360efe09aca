# SPDX-License-Identifier: GPL-2.0-only
# membench. `make` lists the targets. Nothing needs to be built to use the tool:
# membench.py carries its compiled kernel programs.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
FUZZ_VENV := .venv-fuzz
FUZZ_READY := $(FUZZ_VENV)/.ready
FUZZ_SECONDS ?= 60
PYTEST ?=
# Many tests wait more than they work.
TEST_PROCESSES ?= $(shell expr 2 '*' $$(nproc))

# Package names. One of apt may be a pattern: libbpf0 is Debian 11, libbpf1 is later. tcpdump
# brings libpcap, whose package has another name on each release.
APT_RUN := python3 libbpf[01] memcached tcpdump
DNF_RUN := python3 libbpf memcached tcpdump
APT_BPF := clang llvm libbpf-dev linux-libc-dev
DNF_BPF := clang llvm libbpf-devel kernel-headers
APT_TEST := bpftool iproute2 libmemcached-tools libsasl2-modules nutcracker openssl \
    python3-pylibmc python3-venv sasl2-bin tshark util-linux
DNF_TEST := bpftool cyrus-sasl cyrus-sasl-plain iproute libmemcached-awesome-tools openssl \
    python3-pylibmc twemproxy wireshark-cli util-linux
APT_KERNELS := cpio debian-archive-keyring mmdebstrap qemu-system-arm qemu-system-x86
DNF_KERNELS := cpio debian-keyring mmdebstrap qemu-system-aarch64-core qemu-system-x86-core
APT_FRESH := debian-archive-keyring git mmdebstrap
DNF_FRESH := debian-keyring git mmdebstrap

# $(call install,APT PACKAGES,DNF PACKAGES): install those that are missing. Without root
# that is an error only if something is missing. No service is started or stopped here;
# that Debian's memcached package starts one when it is installed does no harm.
define install
@set -fe; \
apt() { for name in $(1); do \
    dpkg-query -W -f='$${db:Status-Status}\n' "$$name" 2>/dev/null | grep -qx installed \
      || echo "$$name"; done; }; \
dnf() { for name in $(2); do rpm -q --quiet --whatprovides "$$name" || echo "$$name"; done; }; \
if command -v apt-get >/dev/null; then missing=$$(apt); \
elif command -v rpm >/dev/null; then missing=$$(dnf); \
else echo "install these by hand: $(2)" >&2; exit 0; fi; \
[ -n "$$missing" ] || exit 0; \
[ "$$(id -u)" = 0 ] || { echo "missing:" $$missing "(sudo make deps-test)" >&2; exit 1; }; \
echo "installing:" $$missing; \
if command -v apt-get >/dev/null; then \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update -qq; \
    apt-get install -qq -y --no-install-recommends $$(printf '^%s$$ ' $$missing) >/dev/null; \
else \
    command dnf install -q -y $$missing; \
fi
endef

.NOTPARALLEL:
.PHONY: help demo test test-all test-fresh test-kernels test-pythons fuzz bench lint size
.PHONY: rebuild-bpf check-bpf
.PHONY: deps-run deps-bpf deps-test packages-test root dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' \
	    $(firstword $(MAKEFILE_LIST))

demo: root deps-run ## as root: record a memcached of its own for some seconds, and analyze
	@$(PYTHON) bench/demo.py

test: root deps-test lint check-bpf ## as root: all tests and checks; PYTEST='-k replay' for some
	$(VENV)/bin/python -m pytest -n $(TEST_PROCESSES) --dist worksteal tests $(PYTEST)

test-all: export MEMBENCH_TEST_ALL = 1
test-all: test ## as root: the same, with five times as much random input

test-fresh: root ## as root: the README's commands on a minimal Debian 12 and 13
	$(call install,$(APT_FRESH),$(DNF_FRESH))
	$(PYTHON) tests/fresh.py $(FRESH)

test-kernels: root deps-run ## as root: record on Linux 5.10 to 6.12, and on arm64, under qemu
	$(call install,$(APT_KERNELS),$(DNF_KERNELS))
	$(PYTHON) tests/kernels/matrix.py

test-pythons: root packages-test ## as root: what needs no kernel, on Python 3.9 to 3.13
	$(PYTHON) tests/pythons.py

fuzz: $(FUZZ_READY) ## look for input that breaks a reader, FUZZ_SECONDS for each (x86-64)
	@for target in requests responses matcher packets captures profiles blocks; do \
	    echo "fuzzing $$target"; \
	    $(FUZZ_VENV)/bin/python tests/fuzz/run.py $$target -max_total_time=$(FUZZ_SECONDS) \
	        -verbosity=0 || exit 1; \
	done

$(FUZZ_READY): tests/fuzz/requirements.txt
	$(PYTHON) -m venv --clear $(FUZZ_VENV)
	$(FUZZ_VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

bench: root packages-test ## as root: all that it costs and how fast it is, beside other tools
	$(PYTHON) bench/all.py $(BENCH)

lint: $(READY) ## ruff, mypy --strict, and no section, class or function that is too long
	$(VENV)/bin/ruff check --no-cache
	$(VENV)/bin/ruff format --no-cache --check
	$(VENV)/bin/mypy --strict membench.py bpf/build.py
	$(PYTHON) tests/size.py --check

size: ## how many lines membench.py has, by section, and what in it is longest
	@$(PYTHON) tests/size.py

rebuild-bpf: deps-bpf ## compile bpf/programs.bpf.c, and put it into membench.py
	$(PYTHON) bpf/build.py

check-bpf: deps-bpf ## fail unless kernel source, object and membench.py agree
	$(PYTHON) bpf/build.py --check

deps-run: ## as root: install what recording and the demo need
	$(call install,$(APT_RUN),$(DNF_RUN))

deps-bpf: ## as root: install what compiling the kernel programs needs
	$(call install,$(APT_BPF),$(DNF_BPF))

deps-test: packages-test $(READY) ## as root: both of these and what else the tests need; .venv

packages-test:
	$(call install,$(APT_RUN) $(APT_BPF) $(APT_TEST),$(DNF_RUN) $(DNF_BPF) $(DNF_TEST))

$(READY): tests/requirements.txt
	$(call install,$(filter python3-venv,$(APT_TEST)),python3)
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

dist: ## write membench.py and its SHA-256 to dist/, for copying to servers
	install -D membench.py dist/membench.py
	cd dist && sha256sum membench.py > membench.py.sha256 && cat membench.py.sha256

clean: ## remove .venv, caches and what was built; profiles stay
	rm -rf $(VENV) $(FUZZ_VENV) .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

root:
	$(if $(filter-out 0,$(shell id -u)),$(error run it as root: sudo make $(MAKECMDGOALS)))
	@:
