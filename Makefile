# Thin on purpose: each target is a command that one could type.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X main.version=$(VERSION)
SUDO     = $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# What the tests judge us with. The kernel is unpacked for a virtual machine,
# not installed.
PACKAGES = acl attr chromium-headless-shell debootstrap dosfstools e2fsprogs erofs-utils fdisk \
	fuse2fs fuse3 gdisk genisoimage git grub-common kmod libarchive-tools \
	libcap2-bin libdb1-compat makefs mount mtools mtree-netbsd openssh-client openssl \
	perl-base python3 qemu-system-x86 qemu-utils rpm rsync sleuthkit sqlite3 squashfs-tools \
	squashfuse systemd util-linux xorriso xz-utils zstd

.PHONY: build demo test unit race integration proof bench fuzz lint tools clean

build: ## the static binary ./resflash
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o resflash ./cmd/resflash

demo: build ## the main job, on an image that it makes itself
	@integration/demo.sh

test: tools build unit race integration ## everything; what CI runs

UNITS = $$($(GO) list ./... | grep -v /integration)
unit:
	RESFLASH_STRICT=1 $(GO) test -timeout 30m $(UNITS)

race: ## the same with the race detector, but for what is long and has no goroutines
	RESFLASH_STRICT=1 $(GO) test -race -short -timeout 30m $(UNITS)

integration: build
	RESFLASH_STRICT=1 $(GO) test -timeout 45m ./integration/...

proof: build ## what takes too long for every run: two builds of one Debian compared
	RESFLASH_STRICT=1 RESFLASH_PROOF=1 $(GO) test -timeout 90m -v -run 'TestTwoBuilds' ./integration

bench: build ## ratios against fuse2fs, squashfuse, the kernel and the ceilings of go-fuse
	$(GO) run ./integration/bench

FUZZTIME ?= 10m
fuzz: ## every fuzzer for FUZZTIME, and SEEDS=1000 of random operations
	integration/fuzz.sh $(FUZZTIME)

lint: ## formatting, vet, staticcheck, import directions, patterns
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "not formatted: $$files" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
	$(GO) test -run 'TestImports|TestPatterns' ./integration

tools: ## Debian packages that the tests need
	@missing=""; for p in $(PACKAGES); do \
		dpkg-query -W -f '$${db:Status-Abbrev}' $$p 2>/dev/null | grep -q ^ii || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ] || ! apt-cache show linux-image-amd64 >/dev/null 2>&1; then \
		$(SUDO) apt-get -qq update; \
	fi; \
	if [ -n "$$missing" ]; then \
		echo "installing:$$missing"; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing; \
	fi
	@# Ordinary users may use FUSE; where no udev runs, nothing has said so yet.
	@if [ -c /dev/fuse ] && [ "$$(stat -c %a /dev/fuse)" != 666 ]; then $(SUDO) chmod 666 /dev/fuse; fi

clean:
	rm -rf resflash out
