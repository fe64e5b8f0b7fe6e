# Everything one does with this repository. `make` alone lists the targets.

CARGO ?= cargo
# Further arguments: of the demo (run), of the test runner (test, prove), of the benches (bench).
ARGS ?=
# Random histories of `make prove`.
CASES ?= 100000
# How often `make crash` kills a daemon, cuts its power and damages its files, and which of the calls to
# the file system it takes: each one, or each so many.
KILLS ?= 2000
CUTS ?= 5000
DAMAGE ?= 500
EVERY ?= 1
# Which runs `make sim` plays, besides those that failed once.
RUNS ?= --for 10m

.DEFAULT_GOAL := help
.PHONY: help run test prove sim sim-faults crash check fmt bench bench-report bench-peers pictures clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build the program and run the demo (ARGS="…" go to scripts/demo.sh)
	$(CARGO) build --locked --release
	scripts/demo.sh $(ARGS)

# The documentation's tests come first, so that the last lines are those of the rest.
test: ## run every test (with cargo-nextest where it is installed)
	$(CARGO) test --locked --workspace --doc
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		set -x; $(CARGO) nextest run --locked --workspace $(ARGS); \
	else \
		set -x; $(CARGO) test --locked --workspace --lib --bins --tests --examples $(ARGS); \
	fi

# Every small history in every order, which is ignored elsewhere since it takes long, and many more
# random ones.
prove: ## hold the merge engine against the naive model at length (CASES=N random histories)
	CASES=$(CASES) $(CARGO) test --locked --release -p leveret --test it -- --include-ignored --nocapture \
		exhaustive after_every_merge_of_random_histories $(ARGS)

# In the dev profile, whose assertions are on.
sim: ## play every run that failed once, and fresh ones for a while (RUNS="--for 10m")
	$(CARGO) build --locked -p leveret-sim
	$(CARGO) run --locked -q -p leveret-sim -- sweep --kept
	$(CARGO) run --locked -q -p leveret-sim -- sweep $(RUNS) $(ARGS)

# FAULT=NAME in the environment looks for that one alone.
sim-faults: ## see that the simulator finds every deliberate fault
	$(CARGO) test --locked --release -p leveret-sim --features faults --test deliberate -- --include-ignored --nocapture

# In the dev profile, whose assertions are on. Needs strace.
crash: ## kill daemons, fail their file systems, cut their power, damage their files (KILLS=N CUTS=N …)
	$(CARGO) build --locked -p leveret -p leveret-crash
	$(CARGO) run --locked -q -p leveret-crash -- kills --kills $(KILLS)
	$(CARGO) run --locked -q -p leveret-crash -- calls --every $(EVERY)
	$(CARGO) run --locked -q -p leveret-crash -- cuts --cuts $(CUTS)
	$(CARGO) run --locked -q -p leveret-crash -- cuts --cuts 50 --forget-syncs
	$(CARGO) run --locked -q -p leveret-crash -- damage --times $(DAMAGE)

check: ## formatting, lints, the library without its features, the documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) build --locked --no-default-features --lib
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --workspace

fmt: ## format the code
	$(CARGO) fmt --all

bench: ## measure the speed against what is below and beside (ARGS="NAME --seconds S --large N")
	$(CARGO) build --locked --release -p leveret -p leveret-speed
	$(CARGO) run --locked --release -q -p leveret-speed -- $(ARGS)

bench-report: ## count what things cost, and draw docs/explanation/cost (takes some minutes)
	$(CARGO) build --locked --release -p leveret-speed
	$(CARGO) run --locked --release -q -p leveret-speed -- --report docs/explanation/cost --large 1000000

# A crate of its own outside the workspace: loro takes minutes to build.
bench-peers: ## merge moves beside loro's movable tree
	cd benches/peers && $(CARGO) run --locked --release -q -- $(ARGS)

pictures: ## draw the pictures of docs/explanation again (with Python 3)
	scripts/pictures.py

clean: ## remove what was built
	$(CARGO) clean
