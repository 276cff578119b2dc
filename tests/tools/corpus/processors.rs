//! Instructions that not every processor of a platform has, found in the code itself. The cases run on processors that
//! have no more than the platform promises: a Nehalem for x86-64-v2, a qemu64 for less, a Cortex-A53 for Armv8.0-A.

use xbuild::internal::elf::Object;

use super::image::{Item, file, program};
use super::programs::{AMD64, AMD64_MUSL, ARM64, ARM64_MUSL, Abi, Link, PORTS, Port};
use super::world::{Case, World};

const APP: &str = "opt/app/bin/app";
const LINE: &[&str] = &["/opt/app/bin/app"];
const LIBRARY: &str = "libsum.so.1";

const HASWELL: Abi = Abi(AMD64.0, &["-mcpu=haswell"]);
const HASWELL_MUSL: Abi = Abi(AMD64_MUSL.0, &["-mcpu=haswell"]);
const LEVEL_2: Abi = Abi(AMD64.0, &["-mcpu=x86_64_v2"]);
const NEOVERSE: Abi = Abi(ARM64.0, &["-mcpu=neoverse_n1"]);
const NEOVERSE_MUSL: Abi = Abi(ARM64_MUSL.0, &["-mcpu=neoverse_n1"]);

/// Counts bits and adds up, for both of which newer x86 processors have instructions.
const SUM: &str = "#include <stdio.h>\n\
     __attribute__((noinline)) int sum(const int *a, int n) { int s = 0; \
     for (int i = 0; i < n; i++) s += a[i] + __builtin_popcount(a[i]); return s; }\n\
     int main(int n, char **v) { int a[64]; for (int i = 0; i < 64; i++) a[i] = i * n;\n\
     printf(\"it runs %d\\n\", sum(a, 64)); return 0; }\n";
const SUM_LIBRARY: &str = "int sum(const int *a, int n) { int s = 0; \
     for (int i = 0; i < n; i++) s += a[i] + __builtin_popcount(a[i]); return s; }\n";
const NEEDS_SUM: &str = "#include <stdio.h>\nint sum(const int *, int);\n\
     int main(int n, char **v) { int a[64]; for (int i = 0; i < 64; i++) a[i] = i * n;\n\
     printf(\"it runs %d\\n\", sum(a, 64)); return 0; }\n";
/// Counts atomically.
const COUNT: &str = "#include <stdio.h>\nstatic _Atomic int count;\n\
     int main(int n, char **v) { for (int i = 0; i < n; i++) count++; printf(\"it runs %d\\n\", count); return 0; }\n";
/// Has a function for newer processors, and checks with `cpuid` before calling it.
const ASKS: &str = "#include <stdio.h>\n#include <cpuid.h>\n\
     __attribute__((noinline, target(\"avx2\"))) int fast(const int *a, int n) \
     { int s = 0; for (int i = 0; i < n; i++) s += a[i]; return s; }\n\
     __attribute__((noinline)) int slow(const int *a, int n) { int s = 0; for (int i = 0; i < n; i++) s += a[i]; return s; }\n\
     int main(int n, char **v) { unsigned a, b = 0, c, d; __get_cpuid_count(7, 0, &a, &b, &c, &d);\n\
     int l[64]; for (int i = 0; i < 64; i++) l[i] = i * n;\n\
     printf(\"it runs %d\\n\", b & 32 ? fast(l, 64) : slow(l, 64)); return 0; }\n";
/// The same with a pointer that is set once.
const CHOOSES: &str = "#include <stdio.h>\n#include <cpuid.h>\n\
     __attribute__((target(\"avx2\"))) static int fast(const int *a, int n) \
     { int s = 0; for (int i = 0; i < n; i++) s += a[i]; return s; }\n\
     static int slow(const int *a, int n) { int s = 0; for (int i = 0; i < n; i++) s += a[i]; return s; }\n\
     static int (*volatile chosen)(const int *, int) = slow;\n\
     __attribute__((constructor)) static void choose(void) { unsigned a, b = 0, c, d; \
     __get_cpuid_count(7, 0, &a, &b, &c, &d); chosen = b & 32 ? fast : slow; }\n\
     int main(int n, char **v) { int l[64]; for (int i = 0; i < 64; i++) l[i] = i * n;\n\
     printf(\"it runs %d\\n\", chosen(l, 64)); return 0; }\n";
/// Checks, and uses the feature whatever the result is.
const ASKS_FOR_NOTHING: &str = "#include <stdio.h>\n#include <cpuid.h>\n\
     int main(int n, char **v) { unsigned a, b = 0, c, d; __get_cpuid_count(7, 0, &a, &b, &c, &d);\n\
     volatile int l[64]; for (int i = 0; i < 64; i++) l[i] = i * n;\n\
     int s = 0; for (int i = 0; i < 64; i++) s += __builtin_popcount(l[i]) << (n & 7);\n\
     printf(\"it runs %d %u\\n\", s, b); return 0; }\n";

#[allow(clippy::too_many_lines, reason = "a list")]
pub(super) fn cases(world: &World) -> Vec<Case> {
    let (amd64, arm64) = (&PORTS[0], &PORTS[1]);
    let programs = &world.programs;
    let make = |abi: Abi, source: &str, flags: &[&str]| {
        programs.program(abi, source, &Link { flags, ..Link::default() })
    };
    let library =
        |abi: Abi| programs.library(abi, LIBRARY, SUM_LIBRARY, &Link { flags: &["-O3"], ..Link::default() });
    let plain = library(AMD64);
    let needs = programs.program(AMD64, NEEDS_SUM, &Link { with: &[(LIBRARY, &plain)], ..Link::default() });
    let at = |bytes: &[u8]| vec![file(&format!("usr/lib/{}/{LIBRARY}", amd64.multiarch), bytes)];
    let on = |port: &Port, name: &str, about, app: &[u8], more: Vec<Item>| {
        let case = world.image(("bookworm", port), name, about, &["libc6"], LINE);
        let least = if port.debian == "arm64" { "cortex-a53" } else { "qemu64" };
        case.layer([program(APP, app)].into_iter().chain(more)).cpu(port.platform, least)
    };
    let alone = |port: &Port, name: &str, about, app: &[u8]| {
        let case = World::empty(("bookworm", port), name, about, LINE);
        let least = if port.debian == "arm64" { "cortex-a53" } else { "qemu64" };
        case.layer([program(APP, app)]).cpu(port.platform, least)
    };
    let haswell = make(HASWELL, SUM, &["-O3"]);
    vec![
        on(amd64, "code-none", "a program for all processors", &make(AMD64, SUM, &["-O3"]), vec![]),
        on(amd64, "code-haswell", "a program for a Haswell", &haswell, vec![]),
        on(
            amd64,
            "code-haswell-stripped",
            "the same without symbols",
            &make(HASWELL, SUM, &["-O3", "-s"]),
            vec![],
        ),
        on(amd64, "code-haswell-on-v2", "the same on x86-64-v2", &haswell, vec![])
            .cpu("linux/amd64/v2", "Nehalem"),
        on(amd64, "code-haswell-on-v3", "the same on x86-64-v3", &haswell, vec![])
            .cpu("linux/amd64/v3", "max"),
        on(amd64, "code-v2-on-v2", "a program for x86-64-v2", &make(LEVEL_2, SUM, &["-O3"]), vec![])
            .cpu("linux/amd64/v2", "Nehalem"),
        on(amd64, "code-library-none", "a library for all processors", &needs, at(&plain)),
        on(amd64, "code-library", "a library for a Haswell", &needs, at(&library(HASWELL))),
        on(amd64, "code-asks", "it asks before it calls", &make(AMD64, ASKS, &["-O2"]), vec![]),
        on(
            amd64,
            "code-asks-stripped",
            "the same without symbols",
            &make(AMD64, ASKS, &["-O2", "-s"]),
            vec![],
        ),
        on(
            amd64,
            "code-asks-for-nothing",
            "it asks and does not mind the answer",
            &make(HASWELL, ASKS_FOR_NOTHING, &["-O2"]),
            vec![],
        ),
        on(
            amd64,
            "code-chooses",
            "it asks when it starts, and calls by a pointer",
            &make(AMD64, CHOOSES, &["-O2"]),
            vec![],
        ),
        alone(
            amd64,
            "code-static",
            "a static program for a Haswell",
            &make(HASWELL_MUSL, SUM, &["-O3", "-static"]),
        ),
        on(arm64, "code-none", "a program for all processors", &make(ARM64, COUNT, &[]), vec![]),
        on(arm64, "code-neoverse", "a program for a Neoverse N1", &make(NEOVERSE, COUNT, &[]), vec![]),
        alone(
            arm64,
            "code-static",
            "a static program for a Neoverse N1",
            &make(NEOVERSE_MUSL, COUNT, &["-static", "-s"]),
        ),
    ]
}

/// The message names the least capable processor and the position of the first instruction.
#[test]
fn an_instruction_is_told_with_its_function() {
    let programs = &super::world().programs;
    let link = Link { flags: &["-O3"], ..Link::default() };
    let object = Object::parse(&programs.program(LEVEL_2, SUM, &link)).expect("a program");
    let found: Vec<_> = object.beyond.iter().map(|found| (found.level, found.function.as_str())).collect();
    assert!(matches!(found[..], [(1, "sum" | "main")]), "{:?}", object.beyond);
    let object = Object::parse(&programs.program(NEOVERSE, COUNT, &link)).expect("a program");
    let found = object.beyond.first().expect("LSE");
    assert_eq!((found.extension.as_str(), found.function.as_str()), ("LSE", "main"));
}

/// Code that checks for CRC32 and stores the answer in a byte looks like code that checks for LSE for all programs; fio
/// does so.
#[test]
fn an_answer_in_a_byte_is_one() {
    let source = "#include <stdio.h>\n#include <sys/auxv.h>\n\
        static unsigned char has;\nstatic _Atomic int count;\n\
        __attribute__((noinline)) static void probe(void) { has = (getauxval(16) & BIT) != 0; }\n\
        __attribute__((noinline, target(\"crc\"))) static unsigned fast(unsigned n) { return __builtin_arm_crc32cw(0, n); }\n\
        int main(int n, char **v) { probe(); count++; printf(\"%u\\n\", has ? fast(n) : n); return 0; }\n";
    let programs = &super::world().programs;
    let found = |flags: &[&str]| {
        let link = Link { flags, ..Link::default() };
        let object = Object::parse(&programs.program(ARM64, source, &link)).expect("a program");
        object.beyond.into_iter().map(|found| found.extension).collect::<Vec<_>>()
    };
    for level in ["-O1", "-O2", "-Os"] {
        assert_eq!(found(&[level, "-DBIT=1<<7"]), [""; 0], "{level}");
        // LSE does not imply CRC32.
        assert_eq!(found(&[level, "-DBIT=1<<8"]), ["CRC32"], "{level}");
    }
}

/// Debian builds for what the platform promises: nothing in its packages may be reported, except files that say so
/// themselves.
#[test]
fn nothing_of_debians_needs_a_better_processor() {
    let world = super::world();
    for port in &PORTS[..2] {
        let (mut files, mut wrong) = (0, Vec::new());
        for (path, bytes) in world.userland("bookworm", port).files() {
            let Ok(object) = Object::parse(&bytes) else { continue };
            files += 1;
            if !object.beyond.is_empty() {
                wrong.push(format!("{path}: {:?}", object.beyond));
            }
        }
        assert!(files > 300, "{files}");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
