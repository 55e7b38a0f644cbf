# Gatehouse. `make help` lists every target.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BIN     := bin
LDFLAGS := -s -w -X gatehouse/internal/version.Version=$(VERSION)
# As the images do it (deploy/*/Dockerfile): static, and the same bytes from any folder.
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
TOOL    := $(GO) tool -modfile=$(CURDIR)/tools/go.mod

# The product, and the modules that hold its development and tests.
MODULES := . dev e2e deploy/deploytest deploy/monitoringtest packaging
# Runs a command in each of them, and fails if one does.
EACH     = @failed=; for module in $(or $(2),$(MODULES)); do echo "== module $$module"; (cd $$module && $(1)) || failed="$$failed $$module"; done; \
	[ -z "$$failed" ] || { echo "failed in:$$failed" >&2; exit 1; }

# What `make e2e-external` replays against; see docs/testing.md.
KONG_URL       ?=
APISIX_URL     ?=
KONG_LUA_URL   ?=
APISIX_LUA_URL ?=

# How long `make fuzz` runs each fuzz test.
FUZZTIME ?= 20s

.DEFAULT_GOAL := help
.PHONY: help go setup prerequisites test-prerequisites build dist demo demo-check servers test fuzz lint tidy vuln docs \
	e2e-backends e2e-external compose-kong compose-apisix e2e-compose deploy-check bench bench-apisix bench-doors bench-kong bench-match bench-signin clean

help: ## list every target
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

go: ## check that Go is there and new enough
	@command -v $(GO) >/dev/null || { echo "Go is missing: install Go 1.26 or newer from https://go.dev/dl/" >&2; exit 1; }
	@$(GO) version | awk '{split(substr($$3, 3), v, "."); exit !(v[1] > 1 || v[2] >= 26)}' || { echo "Go is too old: $$($(GO) version); Gatehouse needs 1.26 or newer" >&2; exit 1; }

setup: ## install the Debian packages that are missing; starts no daemons
	@tools/setup

# SETUP=no: say what is missing, and install nothing.
prerequisites: go
	@tools/setup ensure build

test-prerequisites: go
	@tools/setup ensure test

build: go ## build every binary into bin/
	@mkdir -p $(BIN)
	$(BUILD) -o $(BIN)/gatehouse ./cmd/gatehouse
	$(BUILD) -o $(BIN)/kong/gatehouse ./plugins/kong
	$(BUILD) -o $(BIN)/apisix/gatehouse-runner ./plugins/apisix
	$(BUILD) -o $(BIN)/forwardauth/gatehouse-forwardauth ./plugins/forwardauth
	cd dev && $(BUILD) -o ../$(BIN)/gatehouse-dev ./cmd/gatehouse-dev

dist: go ## archives, Debian and RPM packages, checksums and lists of modules, into dist/
	packaging/dist

demo: prerequisites build ## start Kratos, Hydra, five services and both local gateways; Ctrl-C stops them
	$(BIN)/gatehouse-dev demo

demo-check: prerequisites build ## run every step of the demo unattended
	$(BIN)/gatehouse-dev demo --check

servers: prerequisites ## build Kratos, Hydra, OpenFGA and the proxies of the tests into .cache/ (once)
	cd dev && $(GO) run ./ory/ensure && $(GO) run ./openfga/ensure
	cd e2e && $(GO) run ./forwardauth/servers/ensure

# Tests that compare the decisions on thousands of random tables, one after the other.
SERIAL := internal/cli internal/cli/decide internal/cli/gates internal/offline/offlinetest

# No goroutines of ours run in the tests by Prometheus, which takes long to build twice, nor in those of packages.
RACED := $(filter-out deploy/monitoringtest packaging,$(MODULES))

test: test-prerequisites servers ## run every test, with the real servers, and with the race detector where several goroutines run
	$(call EACH,$(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v -e '/validate$$' $(SERIAL:%=-e '^gatehouse/%$$')),$(RACED))
	GOGC=400 $(GO) test -timeout 20m $(SERIAL:%=./%)
	cd deploy/monitoringtest && $(GO) test -timeout 20m .
	cd packaging && $(GO) test -timeout 20m ./...
	$(GO) test -run 'Allocations$$' ./core/config

fuzz: go ## run every fuzz test for FUZZTIME, 20 seconds by default
	@git grep -o '^func Fuzz[A-Za-z0-9]*' -- '*_test.go' | sed 's/:func / /' | while read -r file name; do \
		echo "== $$name"; (cd "$$(dirname "$$file")" && $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) .) || exit 1; \
	done

lint: go ## go vet, gofmt and staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; } >&2
	$(call EACH,$(GO) vet ./... && $(TOOL) staticcheck ./...)

tidy: go ## go mod tidy in every module; dev, e2e and the two of deploy follow the product's versions
	$(call EACH,$(GO) mod tidy)

vuln: go ## govulncheck (needs vuln.go.dev, or GOVULNDB=file:///... for an offline copy)
	$(call EACH,$(TOOL) govulncheck $(if $(GOVULNDB),-db $(GOVULNDB)) ./...)

docs: ## renew what is generated in the documentation
	$(GO) test ./core/config -run 'TestReferenceIsCurrent|TestJSONSchemaIsCurrent' -update
	$(GO) test ./core/config/audit -run TestJSONSchemaIsCurrent -update
	$(GO) test ./core/permission/tablefile -run TestTheSchemaIsUpToDate -update
	$(GO) test ./core/permission/expectation -run TestJSONSchemaIsCurrent -update
	$(GO) test ./plugins/forwardauth -run TestSettingsTableIsCurrent -update
	$(GO) test ./plugins/forwardauth/settings -run TestJSONSchemaIsCurrent -update
	$(GO) test ./plugins/apisix/filter -run TestLuaSchemaIsCurrent -update
	cd deploy/deploytest && $(GO) test . -run TestExamplesAreCurrent -update
	$(GO) test ./internal/signinimport -run TestMigrationTablesAreCurrent -update
	$(GO) test ./internal/cli -run TestDocumentationShowsRealOutput -update
	cd e2e && $(GO) test ./scaling -run TestDocumentationHasTheTablesOfTheModel -update

e2e-backends: prerequisites build ## start Kratos, Hydra and the services on fixed ports and write kong.yml and apisix.yaml for gateways elsewhere
	$(BIN)/gatehouse-dev demo --backends-only --write e2e/external

e2e-external: ## replay the vectors against running gateways: make e2e-external KONG_URL=http://... APISIX_URL=http://...
	KONG_URL='$(KONG_URL)' APISIX_URL='$(APISIX_URL)' KONG_LUA_URL='$(KONG_LUA_URL)' APISIX_LUA_URL='$(APISIX_LUA_URL)' $(GO) test -C e2e -count=1 -run TestVectorsExternal -v .

compose-kong: ## start Kong with the plugin and the whole demo in containers, on 127.0.0.1:8000 (needs Docker)
	docker compose -f deploy/kong/compose.yaml up --build --detach --wait

compose-apisix: ## start APISIX with the runner and the whole demo in containers, on 127.0.0.1:9080 (needs Docker)
	docker compose -f deploy/apisix/compose.yaml up --build --detach --wait

e2e-compose: ## start both gateways in containers, replay the vectors against them and remove everything (needs Docker)
	docker compose -f deploy/compose.yaml up --build --detach --wait && \
		$(MAKE) --no-print-directory e2e-external KONG_URL=http://127.0.0.1:8000 APISIX_URL=http://127.0.0.1:9080; \
		status=$$?; [ $$status -eq 0 ] || docker compose -f deploy/compose.yaml logs --tail 50; \
		docker compose -f deploy/compose.yaml down --volumes; exit $$status

deploy-check: test-prerequisites ## resolve the compose files and run their services, build the images' binaries, validate manifests, lint scripts
	cd deploy/deploytest && $(GO) test -timeout 20m ./validate

bench: ## benchmarks of the engine, with allocations
	$(GO) test -run '^$$' -bench . -benchmem ./core/...

bench-apisix: ## our APISIX runner and the stock one, side by side
	$(GO) test -run '^$$' -bench . ./plugins/apisix/...

bench-doors: test-prerequisites ## a decision at every door that needs no real gateway, forward-auth beside a bare handler, in turn
	cd e2e && $(GO) test -run '^$$' -bench Doors -benchtime 20000x -timeout 60m ./doors

bench-kong: ## our Kong plugin server and go-pdk's, an admission and a refusal, side by side
	$(GO) test -run '^$$' -bench . ./plugins/kong/...

bench-match: test-prerequisites ## permission tables of ours, a linear scan, Casbin and PostgreSQL, side by side
	cd bench && $(GO) test -run '^$$' -bench Match -benchmem .

bench-signin: test-prerequisites servers ## sign-ins and checks of sessions, of ours and of oauth2-proxy, which is built first, side by side
	cd bench && $(GO) test -run '^$$' -bench SideBySide -benchtime 400x ./signin

clean: ## remove build results; the cache of real servers stays
	rm -rf $(BIN) dist e2e/artifacts e2e/external
