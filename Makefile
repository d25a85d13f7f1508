# Tidewire's menu. One line, one thing; `make` alone lists them.

.DEFAULT_GOAL := menu
.NOTPARALLEL:
.PHONY: menu dev test build lint fmt clippy unit tasks doc arrows guard guard-update packages browser proxies proxies-browsers deny audit bench-peers needs clean

menu:             ## list this menu
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev:              ## build and run `tidewire dev`: a server on this machine, with a page to try it
	@scripts/install-build-needs.sh
	cargo run --locked --release --bin tidewire -- dev

test: needs lint doc build unit tasks guard packages browser proxies  ## everything that CI checks, from a clean clone

build:            ## the binary, unoptimised: target/debug/tidewire
	cargo build --locked --bin tidewire

lint: fmt arrows clippy  ## formatting, the rules of the house, clippy

fmt:              ## is the Rust formatted? (`cargo fmt` does it)
	cargo fmt --all --check

clippy:           ## clippy, with every warning an error
	cargo clippy --locked --workspace --all-targets -- -D warnings

arrows:           ## which crate knows which, sizes of files, tables in the docs
	node scripts/check-arrows.mjs

doc:              ## the Rust documentation, with every warning an error
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --all-features --no-deps --lib

unit:             ## the Rust tests, those in the documentation included
	cargo test --locked --workspace

tasks:            ## the promises once more, with a task for each connection instead of the sweep
	TIDEWIRE_TEST_SWEEP=off cargo test --locked -p tidewire --test promises

guard:            ## instructions of the hot paths, counted by valgrind, beside the baseline
	node --test scripts/guard/compare.test.mjs
	node scripts/guard/guard.mjs

guard-update:     ## makes what is counted now the baseline
	node scripts/guard/guard.mjs --update

packages: build   ## the TypeScript client, the React hooks, Workboard's pages: types, tests, how many bytes they are
	npm run build --workspace packages/client --workspace packages/react
	npm run size --workspace packages/client --workspace packages/react
	npm test --workspace packages/client --workspace packages/react --workspace packages/demo
	npm run check-dist --workspace packages/demo

browser: build    ## the built binary and the built client in real browsers, Chromium and Firefox
	npm run build --workspace packages/client
	npm test --workspace packages/browser-tests

proxies: build    ## the built binary and the client in Node behind real proxies, and the snippets of docs/proxies.md
	scripts/install-proxies.sh
	npm run build --workspace packages/client
	TIDEWIRE_LAB_CLIENT=1 TIDEWIRE_LAB_RUNTIMES=node npm test --workspace packages/proxy-lab

proxies-browsers: build  ## the same with the client in Chromium and Firefox: some 10 minutes, not in CI
	scripts/install-proxies.sh
	npm run build --workspace packages/client
	TIDEWIRE_LAB_CLIENT=1 TIDEWIRE_LAB_RUNTIMES=chromium,firefox npm test --workspace packages/proxy-lab

deny:             ## licences, sources and banned crates, without network
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
	@cargo fetch --locked
	cargo deny --locked --offline check --hide-inclusion-graph bans licenses sources

audit:            ## known vulnerabilities (fetches the advisory database)
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
	cargo deny --locked check advisories

bench-peers:      ## Tidewire beside its peers, some 12 minutes: docs/performance.md
	node bench/run.mjs

needs:            ## install what the tests need: a C compiler, valgrind, Chromium, Firefox, npm packages
	scripts/install-test-needs.sh

clean:            ## remove what was built
	rm -rf target node_modules
