# serin: every task of the project. `make help` lists them. Each installs what it lacks, says so,
# and skips what is there.

CARGO ?= cargo
# Where rustup puts cargo, also before the shell knows of it.
export PATH := $(PATH):$(HOME)/.cargo/bin
SERIN_CACHE ?= $(CURDIR)/.cache
export SERIN_CACHE

.PHONY: help rust demo demo-live test stories quick fuzz upgrade bench check crds golden picture size limits image image-arm64 image-twice tools delivery-tools

help: ## List the tasks
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

demo: rust ## Rehearse the support agent's rollout, good and failing, without a cluster
	@$(CARGO) build --quiet --bin serin
	@./examples/demo.sh ./target/debug/serin

demo-live: tools ## The same for real: control plane, Prometheus, agents as processes; KEEP=1 keeps it up
	@$(CARGO) build --bin serin --examples
	@$(CARGO) run --quiet --example demo_live

test: tools delivery-tools ## Everything, on a real control plane with a real Prometheus; THREADS=2 for fewer tests at once
	$(CARGO) build --bin serin --example node --example agent --example bench
	@# Live tests wait for other programs most of the time: more of them than there are cores.
	SERIN_APISERVER=start SERIN_PROMETHEUS_TESTS=start RUST_TEST_THREADS=$(or $(THREADS),4) \
	  PATH="$$(dirname "$$(tests/control-plane/install.sh --where-prometheus)"):$$PATH" \
	  $(CARGO) test --no-fail-fast --lib --bins --test suite
	$(CARGO) test --test suite -- --ignored --nocapture what_the_suite_has_used_is_granted
	$(CARGO) test --doc

fuzz: rust ## Broken input of every kind that serin reads, a minute each; FUZZ=5 for other seconds
	SERIN_FUZZ_SECONDS=$(or $(FUZZ),60) SERIN_FUZZ_SEED=$$(date +%s) $(CARGO) test --test suite -- --nocapture --test-threads 2 fuzz::

stories: rust ## 10,000 random stories; SEEDS=100000 for more, FROM=10000 for later ones
	GLIBC_TUNABLES=glibc.malloc.tcache_count=2000 SERIN_SEEDS=$(or $(SEEDS),10000) SERIN_FROM=$(or $(FROM),0) \
	  $(CARGO) test --quiet --test suite -- invariants_hold

quick: rust ## Only what needs nothing but Rust
	$(CARGO) test --lib --bins --test suite

rust:
	@tests/control-plane/install.sh --rust

tools: rust
	@tests/control-plane/install.sh
	@tests/control-plane/build.sh

delivery-tools: tools
	@tests/control-plane/install.sh --delivery
	@tests/delivery-tools/build.sh

upgrade: tools ## Upgrade in the middle of updates from serin as it was before it was shipped, and roll back; FROM=commit for another
	$(CARGO) build --bin serin --example node --example agent
	SERIN_APISERVER=start SERIN_UPGRADE_FROM="$$(tests/upgrade/build.sh $(FROM))" \
	  PATH="$$(dirname "$$(tests/control-plane/install.sh --where-prometheus)"):$$PATH" \
	  $(CARGO) test --test suite -- --nocapture live_upgrade

bench: tools ## Measure writes, CPU and memory on the real control plane; BENCH="--part idle" for a part
	@$(CARGO) build --release --bin serin
	@$(CARGO) build --examples
	@target/debug/examples/measure $(BENCH)

check: ## Exactly what CI runs
	.ci/run

crds: rust ## Write crds/ from the Rust types
	$(CARGO) run --quiet --bin serin -- crds --output-dir crds

picture: rust ## Take README's picture of a rehearsal again; installs a browser if there is none
	@$(CARGO) build --quiet --bin serin
	@docs/picture.sh ./target/debug/serin

golden: ## Rewrite the golden files; read the difference before you commit it
	UPDATE_GOLDEN=1 $(CARGO) test --test suite

size: rust ## Build the release binary and hold it against the limit of 18 MiB
	$(CARGO) build --release --bin serin
	@size=$$(stat -c %s target/release/serin); echo "release binary: $$size bytes"; test $$size -le 18874368

limits: size tools ## Hold the release binary's size, its memory and its writes while idle against their limits
	@$(CARGO) build --examples
	@target/debug/examples/measure --part idle --idle 0 --idle-for 30s

image: rust ## Build the image without a container engine, run it on a read-only root, write its bills of materials
	deploy/image/build.sh

image-arm64: rust ## The same for arm64, on any machine: with Debian's cross compiler, and an emulator to try it
	deploy/image/build.sh target/image-arm64 arm64

image-twice: rust ## Build the image in two folders and compare: they are equal, byte for byte
	deploy/image/twice.sh
