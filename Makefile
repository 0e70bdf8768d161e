# Sluice. `make build` makes it, `make test` proves it and installs what that needs.
SHELL := /bin/bash
.DELETE_ON_ERROR:
LAB_CACHE ?= /var/cache/sluice-lab

.PHONY: all go deps build packages soak page demo demo-down demo-image bench test test-unit test-page test-e2e test-xen lint generate clean

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# A tag v1.2.3 is version 1.2.3; without one it grows with every commit.
PACKAGE_VERSION := $(shell git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null | sed s/^v// | grep . || echo 0.0.$$(git rev-list --count HEAD 2>/dev/null || echo 0))
GOFLAGS_STATIC := -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
GO_BUILD := CGO_ENABLED=0 go build $(GOFLAGS_STATIC)

all: build

go: ## whether this machine's Go will do, and what to do if not
	@scripts/go.sh

deps: ## what this machine lacks, from Debian's packages
	@scripts/deps.sh

page: web/dist/index.html ## the page, built into web/dist, from where it is embedded

web/node_modules/.package-lock.json: web/package-lock.json
	@scripts/deps.sh npm
	npm --prefix web ci --no-audit --no-fund

web/dist/index.html: web/node_modules/.package-lock.json $(shell find web/src web/index.html web/*.ts web/public -type f 2>/dev/null)
	npm --prefix web run build

build: go page ## bin/sluice and bin/sluice-guest, static
	$(GO_BUILD) -o bin/sluice ./cmd/sluice
	$(GO_BUILD) -o bin/sluice-guest ./cmd/sluice-guest

demo: ## the experiment: three QEMU guests under load, to watch and to shape; Ctrl-C ends it
	@scripts/go.sh
	@scripts/deps.sh demo
	@$(MAKE) --no-print-directory -j2 demo-image build
	bin/sluice lab up --load --cache $(LAB_CACHE)

demo-image:
	@test -e $(LAB_CACHE)/made-from || echo "putting the guests' Debian together, about a minute, once ..."
	@lab/image/build.sh $(LAB_CACHE)

demo-down: ## ends it from another terminal, or what is left of it
	bin/sluice lab down

test: go deps build lint test-unit test-page test-e2e ## everything but Xen

test-unit: go ## units and, as root, the kernel in network namespaces
	go test -race -timeout 15m $$(go list ./... | grep -v /e2e)

test-page: page ## the page's own units
	npm --prefix web test

test-e2e: build ## QEMU guests and Chromium
	go test -v -count=1 -timeout 20m ./e2e

test-xen: deps build ## real Xen under software emulation
	go test -v -count=1 -timeout 30m ./e2e/xen

soak: deps build ## what takes longer: 200 starts of a VM under a storm of changes
	SLUICE_SOAK=1 go test -v -count=1 -timeout 30m -run TestLibvirt ./e2e

packages: go page ## dist/*.deb and *.rpm, for amd64 and arm64
	packaging/build.sh dist $(PACKAGE_VERSION)

bench: go deps build ## the figures, each beside its peer; about three quarters of an hour on a quiet machine
	go run ./bench -readme README.md

lint: go
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet ./...

generate: go ## the OpenAPI document
	go generate ./...

clean:
	rm -rf bin dist web/dist/* web/node_modules bench/out
