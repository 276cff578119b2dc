use super::*;
use crate::toolchain::zig::data::ZigData;

fn spec() -> LinkSpec {
    let sysroot = Sysroot {
        path: "/s".into(),
        identity: "sha256:1".into(),
        release: "bookworm".into(),
        multiarch: "aarch64-linux-gnu".into(),
        gcc: "usr/lib/gcc/aarch64-linux-gnu/12".into(),
        owners: std::collections::BTreeMap::new(),
    };
    let target = Target::by_triple("aarch64-unknown-linux-gnu").unwrap();
    LinkSpec::new(Path::new("/r/rust-lld"), target, &sysroot)
}

fn said(text: &str) -> Result<Said, Error> {
    Said::of(text.split_whitespace().map(OsString::from).collect())
}

/// The linker's arguments, with short names for what a driver adds.
fn linked(text: &str) -> String {
    let words = said(text).unwrap().arguments(&spec());
    let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
    let text = words.join(" ");
    let text = text.replace(
        "-L/s/usr/lib/gcc/aarch64-linux-gnu/12 -L/s/lib/aarch64-linux-gnu -L/s/usr/lib/aarch64-linux-gnu -L/s/lib \
         -L/s/usr/lib",
        "DIRS",
    );
    let text = text.replace("/s/usr/lib/gcc/aarch64-linux-gnu/12/", "GCC/");
    let text = text.replace("/s/usr/lib/aarch64-linux-gnu/", "LIBC/");
    let text = text.replace("--eh-frame-hdr --hash-style=gnu -z relro -z now", "DEFAULTS");
    let text = text.replace("-lgcc_eh -lgcc --exclude-libs=libgcc_eh.a:libgcc.a", "UNWINDER");
    text.replace("-flavor gnu --sysroot=/s ", "")
}

#[test]
fn each_kind_of_file_has_its_start_files() {
    let loader = "-dynamic-linker /lib/ld-linux-aarch64.so.1";
    let end = "DIRS UNWINDER -lc -lgcc GCC/crtendS.o LIBC/crtn.o";
    for (given, expected) in [
        ("a.o", format!("-pie DEFAULTS {loader} LIBC/Scrt1.o LIBC/crti.o GCC/crtbeginS.o a.o {end}")),
        ("-pie a.o", format!("-pie DEFAULTS {loader} LIBC/Scrt1.o LIBC/crti.o GCC/crtbeginS.o a.o {end}")),
        (
            "-no-pie a.o",
            format!(
                "-no-pie DEFAULTS {loader} LIBC/crt1.o LIBC/crti.o GCC/crtbegin.o a.o DIRS UNWINDER -lc -lgcc \
                 GCC/crtend.o LIBC/crtn.o"
            ),
        ),
        ("-shared a.o", format!("-shared DEFAULTS LIBC/crti.o GCC/crtbeginS.o a.o {end}")),
        (
            "-static a.o",
            "-static DEFAULTS LIBC/crt1.o LIBC/crti.o GCC/crtbeginT.o a.o DIRS --start-group -lgcc -lgcc_eh -lc \
             --end-group GCC/crtend.o LIBC/crtn.o"
                .into(),
        ),
        (
            "-static-pie a.o",
            "-static -pie --no-dynamic-linker -z text DEFAULTS LIBC/rcrt1.o LIBC/crti.o GCC/crtbeginS.o a.o DIRS \
             --start-group -lgcc -lgcc_eh -lc --end-group GCC/crtendS.o LIBC/crtn.o"
                .into(),
        ),
        ("-r a.o b.o", "-r a.o b.o".into()),
        ("-nostartfiles a.o", format!("-pie DEFAULTS {loader} a.o DIRS UNWINDER -lc -lgcc")),
        ("-nostdlib a.o", format!("-pie DEFAULTS {loader} a.o DIRS")),
        (
            "-nolibc -shared a.o",
            "-shared DEFAULTS LIBC/crti.o GCC/crtbeginS.o a.o DIRS UNWINDER -lgcc GCC/crtendS.o LIBC/crtn.o".into(),
        ),
    ] {
        assert_eq!(linked(given), expected, "{given}");
    }
    assert_eq!(linked("-static -pie a.o"), linked("-static-pie a.o"));
    assert_eq!(linked("-static -no-pie a.o"), linked("-static a.o"));
    // It was static, so it must not ask for a loader.
    assert_eq!(linked("-static-pie -no-pie a.o"), linked("-static a.o"));
    for more in ["-no-pie", "-pie", "-static", "-static-pie"] {
        assert_eq!(linked(&format!("-shared {more} a.o")), linked("-shared a.o"), "{more}");
        assert_eq!(linked(&format!("-r {more} -shared a.o")), linked("-r a.o"), "{more}");
    }
}

#[test]
fn what_rustc_says_is_linked_with_the_unwinder_inside() {
    let given = "-m64 /w/symbols.o /w/a.o -Wl,--as-needed -Wl,-Bstatic /w/std.rlib -Wl,-Bdynamic -lgcc_s -lc \
                 -B/r/bin/gcc-ld -fuse-ld=lld -Wl,--eh-frame-hdr -Wl,-z,noexecstack -L /w/lib -o /w/a -Wl,--gc-sections \
                 -pie -Wl,-z,relro,-z,now -Wl,-O1 -Wl,--strip-debug -nodefaultlibs";
    assert_eq!(
        linked(given),
        "-pie DEFAULTS -dynamic-linker /lib/ld-linux-aarch64.so.1 LIBC/Scrt1.o LIBC/crti.o GCC/crtbeginS.o \
         /w/symbols.o /w/a.o --as-needed -Bstatic /w/std.rlib -Bdynamic UNWINDER -lc --eh-frame-hdr -z noexecstack -L \
         /w/lib -o /w/a --gc-sections -z relro -z now -O1 --strip-debug DIRS GCC/crtendS.o LIBC/crtn.o"
    );
    assert_eq!(said(given).unwrap().remarks, Vec::new(), "nothing of it is worth a remark");
}

#[test]
fn cxx_libraries_keep_the_shared_unwinder() {
    for given in
        ["-shared-libgcc -lgcc_s -nodefaultlibs", "-lstdc++ -lgcc_s -nodefaultlibs", "-l stdc++ -lgcc_s"]
    {
        assert!(
            linked(given).contains("-lgcc_s") && !linked(given).contains("UNWINDER"),
            "{}",
            linked(given)
        );
    }
    assert!(linked("-lstdc++ a.o").contains("--push-state --as-needed -lgcc_s --pop-state -lc -lgcc"));
}

#[test]
fn values_are_not_taken_for_options() {
    let words = linked("-o -shared -Xlinker -static -u -r a.o");
    assert!(words.starts_with("-pie ") && words.contains("-o -shared -static -u -r a.o"), "{words}");
    assert!(!linked("-I /usr/include -D A -x c a.o").contains("/usr/include"));
    assert_eq!(linked("-nodefaultlibs -l gcc_s"), linked("-nodefaultlibs -lgcc_s"));
    assert!(linked("-pthread a.o").contains("-lpthread UNWINDER -lc"));
}

#[test]
fn what_has_to_be_compiled_is_refused_and_named() {
    for (given, named) in [("a.o b.c", "b.c"), ("-c a.o", "-c"), ("x.S", "x.S"), ("-E x", "-E")] {
        let error = said(given).unwrap_err().to_string();
        assert!(
            error.contains(&format!("`{named}` is to be compiled")) && error.contains("\"zig\""),
            "{error}"
        );
    }
    assert!(said("libx.so libx.so.1.c.2 a.rlib").is_ok());
}

/// What zig's linker does not know, or knows otherwise, LLVM's does: nothing of it may be lost.
#[test]
fn every_argument_that_zig_needs_a_rule_for_reaches_the_linker() {
    let data = ZigData::get();
    for rule in &data.linker.argument {
        // A name may be a prefix, and options with a value have it joined here.
        let argument = match rule.name.split_once(' ') {
            Some((z, word)) => format!("-Wl,{z},{word}"),
            None => format!("-Wl,{}", rule.name),
        };
        let (words, said) = (linked(&argument), said(&argument).unwrap());
        let wanted = argument.trim_start_matches("-Wl,").replace(',', " ");
        assert!(words.contains(&wanted), "{argument}: {words}");
        assert_eq!(said.remarks, Vec::new(), "{argument}");
    }
    assert!(data.linker.argument.len() > 30);
}

#[test]
fn the_path_follows_what_the_driver_does() {
    let dir = tempfile::tempdir().unwrap();
    let install = |spec: &LinkSpec, program: &str| install(spec, Path::new(program), dir.path()).unwrap();
    let first = install(&spec(), "/a/xbuild");
    assert_eq!(install(&spec(), "/b/xbuild"), first);
    assert!(fs::read_to_string(&first).unwrap().contains("/b/xbuild"));
    let other = LinkSpec { identity: "sha256:2".into(), ..spec() };
    assert_ne!(install(&other, "/b/xbuild"), first);
    let text = fs::read(first.with_file_name("spec.json")).unwrap();
    assert_eq!(serde_json::from_slice::<LinkSpec>(&text).unwrap(), spec());
}
