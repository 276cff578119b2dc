#!/usr/bin/env bash
# Guess: a compiler that a CMake toolchain file names finds $CC as whoever started cmake has it, unset here.
# Seen:  while it configures, cmake sets $CC and $CXX for all that it starts to the compiler that it has chosen, the one of the
#        toolchain file included. It tells its own try_compile so, and every program that the compiler runs.
# With:  cmake 4.4.5 (PyPI), gcc of the host, 2026-11-29.
# Why it matters: a wrapper that stands for the host's compiler and calls ${CC:-cc} calls itself without end.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
changed() { echo "changed: $*"; exit 1; }

python3 -m venv venv
venv/bin/pip install -q cmake==4.4.5
printf '#!/bin/sh\necho "CC=$CC" >> %s/seen\nexec gcc "$@"\n' "$work" > wrapper
chmod +x wrapper
printf 'set(CMAKE_C_COMPILER %s/wrapper)\n' "$work" > toolchain.cmake
printf 'cmake_minimum_required(VERSION 3.10)\nproject(x C)\n' > CMakeLists.txt
env -u CC venv/bin/cmake -S . -B build -DCMAKE_TOOLCHAIN_FILE="$work/toolchain.cmake" >/dev/null

grep -qx "CC=$work/wrapper" seen || changed "the compiler sees $(sort -u seen | paste -sd' ')"
echo "as described: the compiler of the toolchain file is started with CC naming itself"
