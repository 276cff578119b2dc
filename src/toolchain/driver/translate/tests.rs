//! The given arguments, and those that zig gets.

use super::*;

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect()
}

fn translated(text: &str, triple: &str) -> Result<Translation, Refused> {
    translate(&words(text), Target::by_triple(triple).unwrap(), &ZigData::get().version, true)
}

/// The arguments for zig on aarch64-gnu, as one text.
fn said(text: &str) -> String {
    said_on("aarch64-unknown-linux-gnu", text)
}

fn said_on(triple: &str, text: &str) -> String {
    let translation = translated(text, triple).unwrap_or_else(|refused| panic!("{refused}"));
    let words: Vec<_> =
        translation.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

#[test]
fn linker_arguments_that_zig_refuses_are_left_out_or_said_differently() {
    // For each of these, zig 0.15 to 0.17 fails with "unsupported linker arg" or "extension flag".
    for (given, expected) in [
        ("-Wl,-O1", ""),
        ("-Wl,-znostart-stop-gc", "-Wl,--no-gc-sections"),
        ("-Wl,-z,nostart-stop-gc -Wl,--gc-sections", "-Wl,--no-gc-sections"),
        ("-Wl,--no-rosegment", ""),
        ("-Wl,-plugin-opt=O2", ""),
        ("-Wl,-plugin-opt=mcpu=generic", ""),
        ("-Wl,--dynamic-list,/x/dyn.list", "-Wl,--export-dynamic"),
        ("-Wl,--dynamic-list=/x/dyn.list", "-Wl,--export-dynamic"),
        ("-Wl,--undefined=main", "-Wl,-u,main"),
        ("-Wl,--undefined -Wl,main", "-Wl,-u,main"),
        ("-Wl,--exclude-libs,ALL", ""),
        ("-Wl,--allow-multiple-definition", ""),
        ("-Wl,--icf=all", ""),
        ("-Wl,--threads=2", ""),
        ("-Wl,--unresolved-symbols=ignore-all", ""),
        ("-Wl,-Map=/x/x.map", ""),
        ("-Wl,-Map,/x/x.map", ""),
        ("-Wl,--warn-common", ""),
        ("-Wl,-z,pack-relative-relocs", ""),
        ("-Wl,--package-metadata=x", ""),
        ("-Wl,-eSTART", "-Wl,--entry,START"),
        ("-Wl,main.o", "main.o"),
        ("-Wl,-z,separate-code,-z,now", "-Wl,-z,now"),
        ("-Wl,-X", ""),
        ("-Wl,--discard-locals,--no-keep-memory", ""),
        ("-Wl,--no-copy-dt-needed-entries", ""),
        ("-Wl,--warn-shared-textrel", ""),
        ("-Wl,-Bsymbolic-functions", ""),
        ("-Wl,-z,start-stop-gc,-z,keep-text-section-prefix", ""),
        ("-Wl,--symbol-ordering-file,/x/order,--as-needed", "-Wl,--as-needed"),
        ("-Wl,-z,nodefs", "-Wl,-z,undefs"),
    ] {
        assert_eq!(said(given), expected, "{given}");
    }
}

#[test]
fn linker_arguments_that_zig_takes_are_passed_on() {
    for given in [
        "-Wl,--as-needed",
        "-Wl,--no-undefined-version",
        "-Wl,-u,main",
        "-Wl,--eh-frame-hdr",
        "-Wl,-eh-frame-hdr",
        "-Wl,-z,noexecstack",
        "-Wl,--gc-sections",
        "-Wl,--build-id=sha1",
        "-Wl,-T,/dev/null",
        "-Wl,-Bstatic",
        "-Wl,--start-group",
        "-Wl,-rpath,/x",
        "-Wl,--dynamic-linker=/lib/x",
        "-Wl,-soname,x",
        "-Wl,--wrap=malloc",
        "-Wl,-z,max-page-size=65536",
        "-Wl,-e,main",
        "-Wl,--entry=main",
        "-Wl,--export-dynamic",
        "-Wl,-export-dynamic",
        "-Wl,--whole-archive",
        "-Wl,--never-heard-of=this",
        "-lgcc_s",
        "-pie",
        "-nodefaultlibs",
        "-rdynamic",
        "-B/x",
    ] {
        assert_eq!(said(given), given);
    }
    assert_eq!(said("-Wl,-z,relro,-z,now"), "-Wl,-z,relro -Wl,-z,now");
    assert_eq!(said("-Wl,-z -Wl,now"), "-Wl,-z,now");
    assert_eq!(said("-Xlinker -rpath -Xlinker /a,b"), "-Xlinker -rpath -Xlinker /a,b");
    assert_eq!(said("-Xlinker --icf=all -o --target=x main.o"), "-o --target=x main.o");
}

#[test]
fn what_would_change_the_program_is_refused() {
    for given in [
        "-Wl,--defsym=foo=1",
        "-Wl,--defsym,foo=1",
        "-Wl,--emit-relocs",
        "-Wl,--push-state",
        "-Wl,--fix-cortex-a53-843419",
        "-Xlinker --pop-state",
        "-Wl,-init,start",
        "-Wl,-Ttext=0x400000",
        "-Wl,-z,muldefs",
        "-Wl,-z,interpose",
        "-Wl,-z,initfirst",
        "-Wl,-zforce-bti",
    ] {
        let refused = translated(given, "aarch64-unknown-linux-gnu").unwrap_err();
        let argument = refused.argument.replace("-z ", "");
        assert!(given.contains(&argument), "{refused}");
    }
    let target = Target::by_triple("aarch64-unknown-linux-gnu").unwrap();
    let wrap = words("-Wl,--wrap=malloc");
    assert!(translate(&wrap, target, &Version::new(0, 16, 0), true).is_err());
    assert!(translate(&wrap, target, &Version::new(0, 17, 0), true).is_ok());
}

#[test]
fn nothing_is_left_out_without_a_remark() {
    let translation = translated(
        "--target=aarch64-unknown-linux-gnu -Wl,-O1,--icf=all -mtune=native x.o -o x",
        "aarch64-unknown-linux-gnu",
    )
    .unwrap();
    let remarked: Vec<_> = translation.remarks.iter().map(|remark| remark.argument.as_str()).collect();
    assert_eq!(
        remarked,
        ["--target=aarch64-unknown-linux-gnu", "-O1", "--icf=all", "-mtune=native"].map(|word| word)
    );
    assert_eq!(translation.arguments, words("x.o -o x"));
}

#[test]
fn a_version_script_may_name_what_is_not_there_as_for_gnu_ld() {
    for given in ["-Wl,--version-script=/x/v.map", "-Wl,-version-script,/x/v.map"] {
        assert_eq!(said(given), format!("{given} -Wl,--undefined-version"));
        let strict = format!("{given} -Wl,--no-undefined-version");
        assert_eq!(said(&strict), strict);
    }
}

#[test]
fn the_older_tag_of_the_run_path_is_written_afterwards() {
    let rpath = |text: &str| translated(text, "aarch64-unknown-linux-gnu").unwrap().rpath;
    assert_eq!(said("-Wl,--disable-new-dtags,-rpath,/x a.o"), "-Wl,-rpath,/x a.o");
    assert!(rpath("-Wl,--disable-new-dtags -Wl,-rpath,/x a.o"));
    assert!(!rpath("-Wl,--disable-new-dtags -Wl,--enable-new-dtags a.o"));
    assert!(!rpath("-Wl,-rpath,/x a.o"));
}

#[test]
fn the_target_is_the_wrappers_business() {
    assert_eq!(said("--target=aarch64-unknown-linux-gnu -c x.c"), "-c x.c");
    assert_eq!(said("--target aarch64-unknown-linux-gnu -c x.c"), "-c x.c");
    assert_eq!(said("-target aarch64-linux-gnu -c x.c"), "-c x.c");
}

#[test]
fn processors_get_zigs_names() {
    let arm64 = "aarch64-unknown-linux-gnu";
    for (triple, given, expected) in [
        (arm64, "-march=armv8-a", "-mcpu=generic+v8a"),
        (arm64, "-march=armv8.2-a+fp16+crypto", "-mcpu=generic+v8_2a+fullfp16+crypto"),
        (arm64, "-march=armv8-a+nosimd", "-mcpu=generic+v8a-neon"),
        (arm64, "-mcpu=cortex-a53", "-mcpu=cortex_a53"),
        (arm64, "-mcpu=cortex_a53", "-mcpu=cortex_a53"),
        ("x86_64-unknown-linux-gnu", "-march=x86-64-v3", "-mcpu=x86_64_v3"),
        ("x86_64-unknown-linux-gnu", "-march=skylake-avx512", "-mcpu=skylake_avx512"),
        ("x86_64-unknown-linux-gnu", "-mavx2", "-mavx2"),
        (
            "armv7-unknown-linux-gnueabihf",
            "-march=armv7-a -mfpu=vfpv3-d16",
            "-mcpu=generic+v7a+vfp3-d32+thumb2-neon -mfpu=vfpv3-d16",
        ),
        ("armv7-unknown-linux-gnueabihf", "-mfpu=neon", "-mcpu=generic+v7a+vfp3+thumb2+neon"),
        ("riscv64gc-unknown-linux-gnu", "-march=rv64gc", "-mcpu=generic_rv64+m+a+f+d+c"),
        ("powerpc64le-unknown-linux-gnu", "-mcpu=power9", "-mcpu=pwr9"),
    ] {
        assert_eq!(said_on(triple, given), expected, "{triple} {given}");
    }
}

#[test]
fn macros_of_the_preprocessor_are_the_drivers() {
    assert_eq!(said("-Wp,-U_FORTIFY_SOURCE -c x.c"), "-U_FORTIFY_SOURCE -c x.c");
    assert_eq!(said("-Wp,-D_FORTIFY_SOURCE=2 -c x.c"), "-D_FORTIFY_SOURCE=2 -c x.c");
    assert_eq!(said("-Wp,-MD,x.d -c x.c"), "-Wp,-MD,x.d -c x.c");
}

#[test]
fn only_debug_information_is_stripped_where_only_that_was_asked_for() {
    let strip = |text: &str, can_strip: bool| {
        let target = Target::by_triple("aarch64-unknown-linux-gnu").unwrap();
        let translation = translate(&words(text), target, &ZigData::get().version, can_strip).unwrap();
        (translation.strip, translation.arguments)
    };
    let (debug, all) = (Some(Strip::Debug), Some(Strip::All));
    assert_eq!(strip("x.o -Wl,--strip-debug", true), (debug, words("x.o")));
    assert_eq!(strip("x.o -Wl,-S", true), (debug, words("x.o")));
    assert_eq!(strip("x.o -Wl,--strip-debug", false), (None, words("x.o -Wl,--strip-debug")));
    // zig would build its libraries twice.
    for given in ["x.o -Wl,--strip-all", "x.o -Wl,-s", "x.o -s", "x.o -s -Wl,-S", "x.o -Wl,-S -Wl,-s"] {
        assert_eq!(strip(given, true), (all, words("x.o")), "{given}");
    }
    assert_eq!(strip("x.o -s", false), (None, words("x.o -s")));
}

#[test]
fn static_programs_are_for_musl() {
    let refused = translated("x.o -static-pie", "x86_64-unknown-linux-gnu").unwrap_err();
    assert!(refused.reason.contains("musl"), "{refused}");
    assert_eq!(said_on("x86_64-unknown-linux-musl", "x.o -static-pie"), "x.o -static -pie");
    assert_eq!(said("-static -c x.c"), "-static -c x.c");
}

#[test]
fn tells_linking_from_compiling_and_asking() {
    let task = |text: &str| task(&words(text));
    assert_eq!(task("a.o b.o -o /x/y"), Task::Link("/x/y".into()));
    assert_eq!(task("a.o -oy"), Task::Link("y".into()));
    assert_eq!(task("a.c"), Task::Link("a.out".into()));
    assert_eq!(task("-c a.c -o a.o"), Task::Compile);
    assert_eq!(task("-E a.c"), Task::Compile);
    assert_eq!(task("--version"), Task::Ask);
    assert_eq!(task("-v"), Task::Ask);
    assert_eq!(task("-print-search-dirs"), Task::Ask);
    assert_eq!(task("-dumpmachine"), Task::Ask);
}
