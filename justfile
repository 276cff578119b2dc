# Short names for the commands of CONTRIBUTING.md; each is a plain command, and just is not needed.

# List the recipes
default:
    @just --list

# Compile everything and write no program: the quickest answer
check:
    cargo check --locked --all-targets
    cargo check --locked --test tools

# Build target/debug/xbuild
build:
    cargo build --locked

# Build the three-platform image of the example
hello:
    cargo run --release -- build examples/hello

# Format
fmt:
    cargo fmt

# clippy, as CI has it
lint:
    cargo clippy --all-targets --locked -- -D warnings
    cargo clippy --test tools --locked -- -D warnings

# Every test that needs no tools
quick:
    cargo test --locked

# Unit tests, all or those whose names contain FILTER
test FILTER="":
    cargo test --locked --lib {{ FILTER }}

# A group of integration tests: files of tests/it/ and tests/tools/
it GROUP:
    cargo test --locked --test it --test tools -- {{ GROUP }}::

# The rules of the source tree, and the data files
tidy:
    cargo test --locked --test tidy --test catalog

# Write the snapshots of the unit tests anew
snapshots:
    SNAPSHOTS=overwrite cargo test --locked --lib

# Write the JSON schemas of docs/ anew
schemas:
    XBUILD_BLESS=1 cargo test --locked --lib the_published_schema

# Cases of the link check's corpus whose names contain TEXT
corpus TEXT="":
    XBUILD_CORPUS="{{ TEXT }}" cargo test --release --locked --test tools corpus -- --nocapture

# Install the tools of the tests and run all of them
all *ARGUMENTS:
    tests/run {{ ARGUMENTS }}

# Everything that CI looks at
ci:
    .ci/run

# Licences, advisories and sources of the dependencies
deny:
    cargo deny --locked check

# The library's documentation
doc:
    cargo doc --locked --no-deps --lib

# Fuzz, one target or all
fuzz SECONDS="600" *TARGETS:
    fuzz/run.sh {{ SECONDS }} {{ TARGETS }}
