//! Small programs and libraries of the corpus, linked by zig for each architecture, and stored in the tests' cache.

use std::fs;
use std::path::PathBuf;

use crate::support::command::tool;
use crate::support::{scratch_root, tools};

/// Raised if a program is made differently.
const FORMAT: u32 = 1;

/// A C library and architecture to link for, by zig's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Abi(pub(super) &'static str, pub(super) &'static [&'static str]);

pub(super) const AMD64: Abi = Abi("x86_64-linux-gnu.2.31", &[]);
pub(super) const ARM64: Abi = Abi("aarch64-linux-gnu.2.31", &[]);
pub(super) const ARMHF: Abi = Abi("arm-linux-gnueabihf.2.34", &["-mcpu=generic+v7a+vfp3-d32+thumb2-neon"]);
pub(super) const ARMEL: Abi = Abi("arm-linux-gnueabi.2.34", &["-mcpu=generic+v7a+soft_float-neon-vfp2"]);
pub(super) const ARMHF_NEON: Abi = Abi("arm-linux-gnueabihf.2.34", &["-mcpu=generic+v7a+vfp3+thumb2+neon"]);
pub(super) const ARMHF_V8: Abi = Abi("arm-linux-gnueabihf.2.34", &["-mcpu=cortex_a53"]);
/// Newer than bookworm's.
pub(super) const AMD64_NEW: Abi = Abi("x86_64-linux-gnu.2.39", &[]);
pub(super) const ARM64_NEW: Abi = Abi("aarch64-linux-gnu.2.39", &[]);
pub(super) const ARMHF_NEW: Abi =
    Abi("arm-linux-gnueabihf.2.39", &["-mcpu=generic+v7a+vfp3-d32+thumb2-neon"]);
pub(super) const AMD64_MUSL: Abi = Abi("x86_64-linux-musl", &[]);
pub(super) const ARM64_MUSL: Abi = Abi("aarch64-linux-musl", &[]);
pub(super) const ARMHF_MUSL: Abi = Abi("arm-linux-musleabihf", &["-mcpu=generic+v7a+vfp3-d32+thumb2-neon"]);

/// Prints a line.
pub(super) const HELLO: &str = "#include <stdio.h>\nint main(void) { return puts(\"it runs\") < 0; }\n";
/// A library with one function.
pub(super) const ONE: &str = "int one(void) { return 1; }\n";
/// A library with another function.
pub(super) const OTHER: &str = "int other(void) { return 1; }\n";
/// A library that needs the first.
pub(super) const TWO: &str = "int one(void);\nint two(void) { return one() + 1; }\n";
/// A program that needs the first library.
pub(super) const NEEDS_ONE: &str =
    "#include <stdio.h>\nint one(void);\nint main(void) { puts(\"it runs\"); return one() - 1; }\n";
/// A program that needs only the second library.
pub(super) const NEEDS_TWO: &str =
    "#include <stdio.h>\nint two(void);\nint main(void) { puts(\"it runs\"); return two() - 2; }\n";
/// A program that works without the function.
pub(super) const WEAK: &str = "#include <stdio.h>\n__attribute__((weak)) int absent(void);\n\
     int main(void) { puts(\"it runs\"); return absent ? absent() : 0; }\n";
/// A program that calls a function that glibc has since 2.38.
pub(super) const NEW: &str = "#include <stdio.h>\n#include <stddef.h>\n\
     size_t strlcpy(char *, const char *, size_t);\n\
     int main(int n, char **v) { char b[9]; strlcpy(b, v[0], sizeof b); return puts(\"it runs\") < 0; }\n";
/// A library in two versions of its interface.
pub(super) const VERSION_1: &str = "LIB_1 { global: one; local: *; };\n";
pub(super) const VERSION_2: &str = "LIB_1 { };\nLIB_2 { global: one; local: *; } LIB_1;\n";
/// A program with an instruction that only a v8 processor has.
pub(super) const V8: &str = "#include <stdio.h>\nint main(int n, char **v) {\n\
     unsigned r; __asm__ volatile(\"crc32b %0, %1, %2\" : \"=r\"(r) : \"r\"(0), \"r\"(n));\n\
     printf(\"it runs %u\\n\", r); return 0; }\n";

/// The compiler, and its results so far.
pub(super) struct Programs {
    zig: PathBuf,
    dir: PathBuf,
}

/// What to link.
#[derive(Clone, Debug, Default)]
pub(super) struct Link<'a> {
    /// Linker arguments and the like.
    pub(super) flags: &'a [&'a str],
    /// Libraries to link with, by the names under which they are needed.
    pub(super) with: &'a [(&'a str, &'a [u8])],
    /// A linker's version script.
    pub(super) versions: Option<&'a str>,
}

impl Programs {
    pub(super) fn new() -> Self {
        let zig = tools::zig();
        let dir = scratch_root().join("cache/corpus/programs");
        fs::create_dir_all(&dir).expect("the cache is ours");
        Self { zig, dir }
    }

    /// A program.
    pub(super) fn program(&self, abi: Abi, source: &str, link: &Link<'_>) -> Vec<u8> {
        self.make(abi, source, link, &[])
    }

    /// A shared library with this name.
    pub(super) fn library(&self, abi: Abi, soname: &str, source: &str, link: &Link<'_>) -> Vec<u8> {
        self.make(abi, source, link, &["-shared", "-fPIC", &format!("-Wl,-soname,{soname}")])
    }

    fn make(&self, abi: Abi, source: &str, link: &Link<'_>, kind: &[&str]) -> Vec<u8> {
        let mut question = format!("{FORMAT} {abi:?} {source} {:?} {:?} {kind:?}", link.flags, link.versions);
        for (name, bytes) in link.with {
            question.extend([" ", name, " ", &crate::support::layout::digest_of(bytes)]);
        }
        let key = &crate::support::layout::digest_of(question.as_bytes())["sha256:".len()..][..24];
        let kept = self.dir.join(key);
        if let Ok(bytes) = fs::read(&kept) {
            return bytes;
        }
        let work = tempfile::tempdir_in(&self.dir).expect("the cache is ours");
        let at = |name: &str| work.path().join(name);
        fs::write(at("source.c"), source).expect("the cache is ours");
        let mut run = tool(&self.zig).arg("cc").args(["-target", abi.0]).args(abi.1.iter().copied());
        run = run.args(["-O1", "-fno-sanitize=all"]).args(kind.iter().copied());
        run = run.arg(at("source.c"));
        for (name, bytes) in link.with {
            fs::write(at(name), bytes).expect("the cache is ours");
            run = run.arg(at(name));
        }
        if let Some(script) = link.versions {
            fs::write(at("versions"), script).expect("the cache is ours");
            run = run.arg(format!("-Wl,--version-script={}", at("versions").display()));
        }
        let cache = scratch_root().join("cache/xbuild/zig");
        let run = |padding: usize| {
            let run = run.clone().args(link.flags.iter().copied()).arg("-o").arg(at("result"));
            let run = run.args(std::iter::repeat_n("-Wl,-z,noexecstack", padding));
            run.env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache).dir(work.path()).run()
        };
        // zig 0.17 starts itself as the linker, and reports that memory is short for some lengths of the command line.
        let found = (0..3).map(run).find(|finished| finished.status.success());
        found.unwrap_or_else(|| run(3)).success();
        fs::rename(at("result"), &kept).expect("the cache is ours");
        fs::read(kept).expect("the cache is ours")
    }

    /// A program compiled by the host's own compiler.
    pub(super) fn native(&self, source: &str, flags: &[&str]) -> Vec<u8> {
        self.native_with(source, flags, &[])
    }

    /// The same, with libraries.
    pub(super) fn native_with(&self, source: &str, flags: &[&str], with: &[(&str, &[u8])]) -> Vec<u8> {
        let work = tempfile::tempdir_in(&self.dir).expect("the cache is ours");
        let at = |name: &str| work.path().join(name);
        fs::write(at("source.c"), source).expect("the cache is ours");
        let mut run = tool("cc").args(flags.iter().copied()).arg(at("source.c"));
        for (name, bytes) in with {
            fs::write(at(name), bytes).expect("the cache is ours");
            run = run.arg(at(name));
        }
        run.arg("-o").arg(at("result")).run().success();
        fs::read(at("result")).expect("the cache is ours")
    }
}

/// The architectures of the corpus: the platform, the ABI of its programs, and its directory of libraries.
pub(super) struct Port {
    pub(super) platform: &'static str,
    /// Debian's name.
    pub(super) debian: &'static str,
    pub(super) multiarch: &'static str,
    pub(super) abi: Abi,
    pub(super) new: Abi,
    pub(super) musl: Abi,
    /// The dynamic loaders of glibc and musl.
    pub(super) loader: &'static str,
    pub(super) musl_loader: &'static str,
}

pub(super) const PORTS: [Port; 3] = [
    Port {
        platform: "linux/amd64",
        debian: "amd64",
        multiarch: "x86_64-linux-gnu",
        abi: AMD64,
        new: AMD64_NEW,
        musl: AMD64_MUSL,
        loader: "lib64/ld-linux-x86-64.so.2",
        musl_loader: "lib/ld-musl-x86_64.so.1",
    },
    Port {
        platform: "linux/arm64",
        debian: "arm64",
        multiarch: "aarch64-linux-gnu",
        abi: ARM64,
        new: ARM64_NEW,
        musl: ARM64_MUSL,
        loader: "lib/ld-linux-aarch64.so.1",
        musl_loader: "lib/ld-musl-aarch64.so.1",
    },
    Port {
        platform: "linux/arm/v7",
        debian: "armhf",
        multiarch: "arm-linux-gnueabihf",
        abi: ARMHF,
        new: ARMHF_NEW,
        musl: ARMHF_MUSL,
        loader: "lib/ld-linux-armhf.so.3",
        musl_loader: "lib/ld-musl-armhf.so.1",
    },
];

/// A program in which a text is replaced by another of the same length.
pub(super) fn patch(program: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = program.to_vec();
    let mut count = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            count += 1;
        }
    }
    assert!(count > 0, "the program has no `{from}`");
    bytes
}

/// A program with `DT_RPATH` instead of `DT_RUNPATH`, as written by older linkers.
pub(super) fn to_rpath(program: &[u8]) -> Vec<u8> {
    retag(program, 29, "", 15)
}

/// Replaces the tag of an entry of a file's dynamic segment whose value is a text with this end.
pub(super) fn retag(file: &[u8], from: usize, end: &str, to: u8) -> Vec<u8> {
    let mut bytes = file.to_vec();
    let wide = bytes[4] == 2;
    let number = |bytes: &[u8], at: usize, width: usize| {
        let mut number = [0; 8];
        number[..width].copy_from_slice(&bytes[at..at + width]);
        usize::try_from(u64::from_le_bytes(number)).expect("a small number")
    };
    let (word, headers, size, count) = if wide { (8, 32, 54, 56) } else { (4, 28, 42, 44) };
    let (headers, size, count) =
        (number(&bytes, headers, word), number(&bytes, size, 2), number(&bytes, count, 2));
    let dynamic = (0..count)
        .map(|i| headers + i * size)
        .find(|at| number(&bytes, *at, 4) == 2)
        .expect("a dynamic program");
    let start = number(&bytes, dynamic + if wide { 8 } else { 4 }, word);
    let entries = (start..).step_by(2 * word).take_while(|at| number(&bytes, *at, word) != 0);
    let entries: Vec<usize> = entries.collect();
    let value = |tag: usize| {
        let at = entries.iter().find(|at| number(&bytes, **at, word) == tag).expect("an entry");
        number(&bytes, at + word, word)
    };
    // The string table is in the first segment, which starts at the beginning of the file.
    let first = (0..count).map(|i| headers + i * size).find(|at| number(&bytes, *at, 4) == 1);
    let address = number(&bytes, first.expect("a segment") + 2 * word, word);
    let strings = value(5) - address;
    let text = |at: usize| {
        let text = &bytes[strings + number(&bytes, at + word, word)..];
        &text[..text.iter().position(|byte| *byte == 0).expect("an end")]
    };
    let found = entries
        .iter()
        .copied()
        .find(|at| number(&bytes, *at, word) == from && text(*at).ends_with(end.as_bytes()));
    let found = found.expect("an entry of the dynamic segment");
    bytes[found] = to;
    bytes
}
