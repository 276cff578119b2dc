//! Platforms that exist only as data files: nothing in the sources knows them by name.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xbuild::error::ExitCode;
use xbuild::internal::elf::{Elf, Object, verify};
use xbuild::target::catalog::Target;

use crate::support::base::{self, Layer};
use crate::support::command::{Finished, tool, xbuild};
use crate::support::project::Project;
use crate::support::{scratch, tools};

const SOURCE: &str = "#include <stdio.h>\nint main(void) { puts(\"here\"); return 0; }\n";

/// A C program that zig compiles for a target's processor.
fn compile(dir: &Path, zig_target: &str, cpu: Option<&str>) -> PathBuf {
    let (source, program) = (dir.join("app.c"), dir.join(zig_target));
    fs::write(&source, SOURCE).expect("a directory of the test");
    let mut compile = tool(tools::zig()).words("cc -O2 -target").arg(zig_target);
    if zig_target.ends_with("musl") {
        compile = compile.arg("-static");
    }
    compile
        .args(cpu.map(|cpu| format!("-mcpu={cpu}")))
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .env("ZIG_GLOBAL_CACHE_DIR", crate::support::scratch_root().join("cache/xbuild/zig"))
        .run()
        .success();
    program
}

/// An image whose entrypoint is the program.
fn image(layout: &Path, architecture: &str, program: &Path) {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_path_with_name(program, "app").expect("a file of the test");
    let tar = tar.into_inner().expect("bytes in memory");
    let layer = Layer { stored: tar.clone(), tar, media_type: "application/vnd.oci.image.layer.v1.tar" };
    base::write_layers_for(architecture, layout, &[layer], &json!({ "config": { "Entrypoint": ["/app"] } }));
}

/// Checks that the report says so.
fn refused(run: &Finished, code: ExitCode, word: &str) {
    assert_eq!(run.status.code(), Some(code.number().into()), "{}", run.describe());
    assert!(run.stdout.contains(word), "{}", run.describe());
}

#[test]
fn programs_of_c_are_known_for_what_they_are() {
    let dir = scratch();
    for (triple, zig_target, architecture) in [
        ("riscv64gc-unknown-linux-musl", "riscv64-linux-musl", "riscv64"),
        ("powerpc64le-unknown-linux-musl", "powerpc64le-linux-musl", "ppc64le"),
        ("s390x-unknown-linux-musl", "s390x-linux-musl", "s390x"),
        ("loongarch64-unknown-linux-gnu", "loongarch64-linux-musl", "loong64"),
        ("loongarch64-unknown-linux-gnu", "loongarch64-linux-gnu.2.38", "loong64"),
    ] {
        let cpu =
            Target::all().iter().find(|target| target.triple == triple).expect("a target").zig.cpu.as_deref();
        let program = compile(dir.path(), zig_target, cpu);
        let elf = Elf::parse(&fs::read(&program).expect("it was made")).expect("a program");
        for target in Target::all() {
            let same = target.platform.architecture() == architecture
                && (target.triple == triple || elf.interpreter.is_none());
            assert_eq!(verify(&elf, target).is_ok(), same, "{zig_target} as {}", target.triple);
        }
        let layout = dir.path().join(format!("{zig_target}-image"));
        image(&layout, architecture, &program);
        let run = xbuild().arg("verify").arg(&layout).arg("--json").run();
        if zig_target.ends_with("musl") {
            let report: Value = serde_json::from_str(&run.success().stdout).expect("JSON");
            assert_eq!(report["platforms"][0]["runs"], true, "{report}");
            // A program of another machine does not run.
            image(&layout, "amd64", &program);
            refused(&xbuild().arg("verify").arg(&layout).run(), ExitCode::Unsound, "wrong-architecture");
        } else {
            // Its loader is missing, and the message names it.
            refused(&run, ExitCode::Unrunnable, "/lib64/ld-linux-loongarch-lp64d.so.1");
        }
    }
}

/// Code for which compilers choose instructions by processor: sums of arrays, counted bits, floating point converted to
/// integers.
const VECTORS: &str = "
unsigned long sums(const unsigned *one, const unsigned *other, unsigned long count) {
    unsigned long sum = 0;
    for (unsigned long at = 0; at < count; at++) sum += one[at] * other[at];
    return sum;
}
int bits(unsigned long value) { return __builtin_popcountl(value) + __builtin_clzl(value | 1); }
void whole(const double *from, int *to, int count) {
    for (int at = 0; at < count; at++) to[at] = (int)(from[at] * 3.0 + 1.0);
}
";

/// C code is compiled for the platform's baseline processor, as Rust code is.
#[test]
fn code_of_c_is_for_every_processor_of_the_platform() {
    let dir = scratch();
    let source = dir.path().join("vectors.c");
    fs::write(&source, VECTORS).expect("a directory of the test");
    for target in Target::all() {
        let library = dir.path().join(&target.triple);
        let zig = tool(tools::zig()).words("cc -O3 -shared -nostdlib -fPIC -target").arg(&target.zig.target);
        let zig = zig.args(target.zig.cpu.iter().map(|cpu| format!("-mcpu={cpu}")));
        let zig = zig
            .arg("-o")
            .arg(&library)
            .arg(&source)
            .env("ZIG_GLOBAL_CACHE_DIR", crate::support::scratch_root().join("cache/xbuild/zig"));
        zig.run().success();
        let object = Object::parse(&fs::read(&library).expect("it was made")).expect("a library");
        assert_eq!(object.beyond, [], "{}", target.triple);
    }
}

#[test]
fn they_are_planned() {
    let project = Project::quick("app");
    for (platform, triple) in [
        ("linux/riscv64", "riscv64gc-unknown-linux-musl"),
        ("linux/ppc64le", "powerpc64le-unknown-linux-musl"),
        ("linux/s390x", "s390x-unknown-linux-musl"),
    ] {
        let plan = project.xbuild().words("plan --base scratch --json --platform").arg(platform);
        let plan: Value = serde_json::from_str(&plan.run().success().stdout).expect("JSON");
        assert_eq!(plan["platforms"][0]["triple"], triple, "{plan}");
    }
}
