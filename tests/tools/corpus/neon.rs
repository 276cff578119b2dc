//! NEON, which only some arm/v7 processors have, and which is detected in the code itself. The cases run on a
//! Cortex-R5F, whose floating point unit is a `VFPv3-D16` and which has no NEON.

use std::collections::BTreeMap;

use xbuild::internal::elf::{Asks, Object};

use super::image::{Item, file, program};
use super::programs::{ARMHF, ARMHF_MUSL, ARMHF_NEON, Abi, HELLO, Link, PORTS};
use super::world::{Case, World};

const APP: &str = "opt/app/bin/app";
const LINE: &[&str] = &["/opt/app/bin/app"];
const LIBRARY: &str = "libsum.so.1";
/// The processor without NEON.
const LEAST: &str = "cortex-r5f";

/// A sum that compilers vectorise if they may.
const SUM: &str = "#include <stdio.h>\n\
     __attribute__((noinline)) int sum(const int *a, int n) { int s = 0; for (int i = 0; i < n; i++) s += a[i]; return s; }\n\
     int main(int n, char **v) { int a[64]; for (int i = 0; i < 64; i++) a[i] = i * n;\n\
     printf(\"it runs %d\\n\", sum(a, 64)); return 0; }\n";
const SUM_LIBRARY: &str =
    "int sum(const int *a, int n) { int s = 0; for (int i = 0; i < n; i++) s += a[i]; return s; }\n";
const NEEDS_SUM: &str = "#include <stdio.h>\nint sum(const int *, int);\n\
     int main(int n, char **v) { int a[64]; for (int i = 0; i < 64; i++) a[i] = i * n;\n\
     printf(\"it runs %d\\n\", sum(a, 64)); return 0; }\n";
/// The same, with NEON code that runs only if a question to the kernel says so.
fn asking(question: &str) -> String {
    format!(
        "#include <stdio.h>\nunsigned long getauxval(unsigned long);\n\
         __attribute__((noinline)) int with_neon(const int *a) {{ int r; __asm__ volatile(\".fpu neon\\n\"\n\
         \"vld1.32 {{d0-d1}}, [%1]\\nvadd.i32 q0, q0, q0\\nvadd.i32 q0, q0, q0\\nvmov.32 %0, d0[0]\\n.fpu vfpv3-d16\"\n\
         : \"=r\"(r) : \"r\"(a) : \"memory\"); return r; }}\n\
         int main(int n, char **v) {{ int a[4] = {{ n, n, n, n }};\n\
         printf(\"it runs %d\\n\", {question} ? with_neon(a) : 4 * n); return 0; }}\n"
    )
}
/// The question whether there is NEON: `AT_HWCAP` and `HWCAP_NEON`.
const FOR_NEON: &str = "getauxval(16) & 4096";
/// A different question: `AT_PAGESZ`.
const FOR_PAGES: &str = "getauxval(6) == 4096";

/// Floating point with more registers than `VFPv3-D16` has.
const REGISTERS: &str = "#include <stdio.h>\nint main(int n, char **v) { double r = n;\n\
     __asm__ volatile(\".fpu vfpv3\\nvmov.f64 d20, %P0\\nvadd.f64 d20, d20, d20\\nvmov.f64 %P0, d20\\n.fpu vfpv3-d16\"\n\
     : \"+w\"(r)); printf(\"it runs %g\\n\", r); return 0; }\n";

pub(super) fn cases(world: &World) -> Vec<Case> {
    let port = &PORTS[2];
    let programs = &world.programs;
    let make = |abi: Abi, source: &str, flags: &[&str]| {
        programs.program(abi, source, &Link { flags, ..Link::default() })
    };
    let library =
        |abi: Abi| programs.library(abi, LIBRARY, SUM_LIBRARY, &Link { flags: &["-O3"], ..Link::default() });
    let plain = library(ARMHF);
    let needs = programs.program(ARMHF, NEEDS_SUM, &Link { with: &[(LIBRARY, &plain)], ..Link::default() });
    let at = |bytes: &[u8]| vec![file(&format!("usr/lib/{}/{LIBRARY}", port.multiarch), bytes)];
    let on = |name: &str, about, app: &[u8], more: Vec<Item>| {
        let case = world.image(("bookworm", port), name, about, &["libc6"], LINE);
        case.layer([program(APP, app)].into_iter().chain(more)).cpu("linux/arm/v7", LEAST)
    };
    let alone = |name: &str, about, app: &[u8]| {
        let case = World::empty(("bookworm", port), name, about, LINE);
        case.layer([program(APP, app)]).cpu("linux/arm/v7", LEAST)
    };
    let neon = make(ARMHF_NEON, SUM, &["-O3"]);
    vec![
        on("neon-none", "a program without NEON", &make(ARMHF, HELLO, &[]), vec![]),
        on("neon-not-asked-for", "the compiler may not use NEON", &make(ARMHF, SUM, &["-O3"]), vec![]),
        on("neon", "the compiler may use NEON", &neon, vec![]),
        on("neon-thumb", "the same in T32", &make(ARMHF_NEON, SUM, &["-O3", "-mthumb"]), vec![]),
        on("neon-stripped", "the same without symbols", &make(ARMHF_NEON, SUM, &["-O3", "-s"]), vec![]),
        on(
            "neon-stripped-thumb",
            "the same in T32",
            &make(ARMHF_NEON, SUM, &["-O3", "-s", "-mthumb"]),
            vec![],
        ),
        on("neon-on-v8", "the same on a processor that has it", &neon, vec![]).cpu("linux/arm/v8", "max"),
        on("neon-asks", "it asks whether there is NEON", &make(ARMHF, &asking(FOR_NEON), &[]), vec![]),
        on(
            "neon-asks-stripped",
            "the same without symbols",
            &make(ARMHF, &asking(FOR_NEON), &["-s"]),
            vec![],
        ),
        on("neon-asks-thumb", "the same in T32", &make(ARMHF, &asking(FOR_NEON), &["-mthumb"]), vec![]),
        on("neon-library-none", "a library without NEON", &needs, at(&plain)),
        on("neon-library", "the compiler may use NEON in a library", &needs, at(&library(ARMHF_NEON))),
        alone("neon-static", "a static program with NEON", &make(ARMHF_MUSL_NEON, SUM, &["-O3", "-static"])),
        alone(
            "neon-static-asks",
            "a static program that asks",
            &make(ARMHF_MUSL, &asking(FOR_NEON), &["-static"]),
        ),
        on(
            "neon-registers",
            "floating point with 32 registers, as most have",
            &make(ARMHF, REGISTERS, &[]),
            vec![],
        )
        .cpu("linux/arm/v7", "cortex-a15"),
    ]
}

const ARMHF_MUSL_NEON: Abi = Abi("arm-linux-musleabihf", ARMHF_NEON.1);

/// The detailed results of the code scanner for linked programs.
#[test]
fn code_is_looked_at_and_not_what_linkers_note() {
    let world = super::world();
    let of = |abi: Abi, source: &str, flags: &[&str]| {
        let bytes = world.programs.program(abi, source, &Link { flags, ..Link::default() });
        Object::parse(&bytes).expect("a program")
    };
    let hello = of(ARMHF, HELLO, &[]);
    // LLD copies the attributes of zig's start-up code.
    assert!(hello.elf.arm.is_some_and(|arm| arm.simd != 0), "{:?}", hello.elf.arm);
    assert_eq!(hello.code, None);
    let code = of(ARMHF_NEON, SUM, &["-O3"]).code.expect("NEON");
    assert_eq!((code.neon.is_some(), code.asks), (true, Asks::No));
    let code = of(ARMHF, &asking(FOR_NEON), &[]).code.expect("NEON");
    assert_eq!((code.neon.as_deref(), code.asks), (Some("with_neon"), Asks::Yes));
    // Asking for the size of a page is not asking for NEON.
    let code = of(ARMHF, &asking(FOR_PAGES), &[]).code.expect("NEON");
    assert_eq!((code.neon.as_deref(), code.asks), (Some("with_neon"), Asks::No));
    let code = of(ARMHF_MUSL, &asking(FOR_NEON), &["-static", "-s"]).code.expect("NEON");
    assert_eq!((code.neon.is_some(), code.asks), (true, Asks::Unknown));
    let code = of(ARMHF, REGISTERS, &[]).code.expect("registers");
    assert_eq!((code.neon, code.high_registers.as_deref()), (None, Some("main")));
}

/// Debian's armhf is for `VFPv3-D16`: nothing in it may be taken for unconditional NEON.
#[test]
fn nothing_of_debians_is_a_false_alarm() {
    let world = super::world();
    let (mut files, mut chooses, mut wrong) = (0, BTreeMap::new(), Vec::new());
    for (path, bytes) in world.userland("bookworm", &PORTS[2]).files() {
        let Ok(object) = Object::parse(&bytes) else { continue };
        files += 1;
        match object.code {
            Some(code) if code.asks == Asks::No => wrong.push(format!("{path}: {code:?}")),
            Some(code) => {
                chooses.insert(path, code);
            }
            None => {}
        }
    }
    println!("{files} programs and libraries; NEON in {chooses:#?}");
    assert!(files > 300, "{files}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let crypto =
        chooses.iter().find(|(path, _)| path.contains("libcrypto.so")).expect("OpenSSL has NEON code");
    assert!(crypto.1.neon.is_some());
}
