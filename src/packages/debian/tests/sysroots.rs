//! Sysroots of the packages of a miniature archive.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::packages::debian::sysroot::SysrootSet;
use crate::packages::debian::{
    Offer, ProvideRequest, Sysroot, SysrootRequest, provide_sysroot, resolve_base,
};

/// The parts of a C library and a compiler, as packages have them.
fn parts() -> Vec<Published> {
    let gcc = "usr/lib/gcc/x-linux/12";
    vec![
        Published::new(
            "libc6-dev",
            "2.36-9",
            "Depends: libc6 (= 2.36-9+deb12u1), libc-dev-bin, linux-libc-dev\n",
            |deb| {
                deb.file("usr/lib/x-linux/Scrt1.o", b"start", 0o644)
                    .file("usr/lib/x-linux/gconv/X.so", b"no linker reads it", 0o644)
                    .file("usr/include/stdio.h", b"header", 0o644)
                    .file("usr/lib64/loader", b"loader", 0o755)
                    .file("usr/share/doc/libc6-dev/copyright", b"LGPL", 0o644)
                    .file("usr/bin/program", b"program", 0o4755)
                    .hard_link("usr/lib/x-linux/plugin", "usr/bin/program")
                    .symlink("usr/lib/x-linux/libm.so", "/lib/x/libc.so.6")
            },
        ),
        Published::new("libgcc-12-dev", "12.2.0-14", "Depends: libgcc-s1 (>= 12), libgomp1\n", |deb| {
            deb.file(&format!("{gcc}/crtbeginS.o"), b"begin", 0o644)
                .file(&format!("{gcc}/libgcc.a"), b"helpers", 0o644)
                .symlink(&format!("{gcc}/libgcc_s.so"), "/lib/x/libgcc_s.so.1")
        }),
        Published::new("libgcc-11-dev", "11.3.0-12", "", |deb| {
            deb.file("usr/lib/gcc/x-linux/11/crtbeginS.o", b"", 0o644)
        }),
    ]
}

/// What C code needs in addition, and development packages that users may ask for.
fn parts_for_c() -> Vec<Published> {
    let mut all = parts();
    all.extend([
        Published::new("linux-libc-dev", "6.1", "", |deb| {
            deb.file("usr/include/linux/version.h", b"kernel", 0o644)
        }),
        Published::new("libstdc++6", "12.2.0-14", "Depends: libc6, libgcc-s1\n", |deb| {
            deb.file("usr/lib/x-linux/libstdc++.so.6", b"c++", 0o644)
        }),
        Published::new("libstdc++-12-dev", "12.2.0-14", "Depends: libstdc++6, libgcc-12-dev\n", |deb| {
            deb.file("usr/include/c++/12/vector", b"vector", 0o644).file(
                "usr/include/x-linux/c++/12/bits/c++config.h",
                b"config",
                0o644,
            )
        }),
        Published::new(
            "libfoo-dev",
            "1.0-1",
            "Depends: libfoo1 (= 1.0-1), libc6-dev, python3:any\n",
            |deb| {
                deb.file("usr/include/foo.h", b"foo", 0o644)
                    .file("usr/lib/x-linux/pkgconfig/foo.pc", b"Name: foo", 0o644)
                    .file("usr/lib/x-linux/cmake/foo/foo-config.cmake", b"foo", 0o644)
                    .file("usr/share/cmake/bar/bar-config.cmake", b"bar", 0o644)
                    .file("usr/share/man/man3/foo.3", b"read me", 0o644)
                    .file("usr/bin/foo-config", b"#!/bin/sh", 0o755)
                    .symlink("usr/lib/x-linux/libfoo.so", "libfoo.so.1")
                    // As far as any link could lead: the directory of the cache and everything above it.
                    .symlink("usr/lib/x-linux/out", "../../../../../../../../etc/passwd")
                    .symlink("usr/lib/x-linux/turn", "../../usr/../../../lib/x/libc.so.6")
            },
        ),
        Published::new("libfoo1", "1.0-1", "Depends: libc6, libbar2, foo-data\n", |deb| {
            deb.file("usr/lib/x-linux/libfoo.so.1.0", b"foo", 0o644)
                .symlink("usr/lib/x-linux/libfoo.so.1", "libfoo.so.1.0")
        }),
        Published::new("libbar2", "2.0-1", "", |deb| deb.file("usr/lib/x-linux/libbar.so.2", b"bar", 0o644)),
        Published::new("foo-data", "1.0-1", "", |deb| deb.file("usr/share/foo/data", b"foo", 0o644)),
    ]);
    all
}

fn names(packages: &ResolvedBase) -> Vec<&str> {
    packages.packages.iter().map(|package| package.name.as_str()).collect()
}

impl Setup {
    fn sysroot_packages(&self) -> Result<ResolvedBase, Error> {
        self.sysroot_packages_for(false, &[])
    }

    fn sysroot_packages_for(&self, c_code: bool, more: &[&str]) -> Result<ResolvedBase, Error> {
        let packages: Vec<String> = more.iter().map(|name| (*name).into()).collect();
        let archive = self.open(false)?;
        let request = SysrootRequest { architecture: "arm64", c_code, packages: &packages, base: None };
        self.on_host(false, &Silent, |host| Ok(archive.resolve_sysroot(&request, host)?.set.plain()))
    }

    fn sysroot(
        &self,
        packages: &ResolvedBase,
        verify: bool,
        reporter: &dyn Reporter,
    ) -> Result<Sysroot, Error> {
        let request = ProvideRequest { multiarch: "x-linux", verify };
        self.on_host(false, reporter, |host| provide_sysroot(packages, &self.mirror(), &request, host))
    }
}

#[test]
fn a_sysroot_has_what_a_linker_reads_and_no_more() {
    let setup = Setup::with(parts());
    let packages = setup.sysroot_packages().unwrap();
    // Neither programs nor headers of the kernel, and the compiler of the release.
    assert_eq!(names(&packages), ["gcc-base", "libc6", "libc6-dev", "libgcc-12-dev", "libgcc-s1"]);
    assert!(packages.packages[2].why.contains("start files"), "{}", packages.packages[2].why);
    let sysroot = setup.sysroot(&packages, false, &Silent).unwrap();
    assert_eq!((sysroot.gcc.as_str(), sysroot.release.as_str()), ("usr/lib/gcc/x-linux/12", "testing"));
    let at = |path: &str| sysroot.path.join(path);
    // Links lead to the sysroot's own files, also by the names that linker scripts use.
    assert_eq!(fs::read(at("usr/lib/x-linux/libm.so")).unwrap(), b"libc");
    assert_eq!(fs::read(at("lib/x/libgcc_s.so.1")).unwrap(), b"gcc");
    assert_eq!(fs::read(at("usr/lib/gcc/x-linux/12/libgcc_s.so")).unwrap(), b"gcc");
    assert_eq!(fs::read(at("usr/include/stdio.h")).unwrap(), b"header");
    // A file stays by the name that is kept, whichever of its names came first.
    assert_eq!(fs::read(at("usr/lib/x-linux/plugin")).unwrap(), b"program");
    assert_eq!(fs::read(at("lib64/loader")).unwrap(), b"loader");
    assert!(!at("libx32").exists());
    for path in ["usr/bin/program", "usr/share/doc", "usr/lib/x-linux/gconv/X.so", "etc"] {
        assert!(!at(path).exists(), "{path}");
    }
}

#[test]
fn a_sysroot_is_made_once_and_only_a_complete_one_is_believed() {
    let setup = Setup::with(parts());
    let packages = setup.sysroot_packages().unwrap();
    let first = setup.sysroot(&packages, false, &Silent).unwrap();
    setup.archive.requests();
    assert_eq!(setup.sysroot(&packages, false, &Silent).unwrap(), first);
    assert_eq!(setup.sysroot(&setup.sysroot_packages().unwrap(), false, &Silent).unwrap(), first);
    assert_eq!(setup.archive.requests(), ["dists/testing/InRelease"]);
    // The start of another run that ended too soon.
    fs::remove_dir_all(&first.path).unwrap();
    fs::create_dir_all(first.path.join("usr/lib")).unwrap();
    assert_eq!(setup.sysroot(&packages, false, &Silent).unwrap(), first);
    assert!(first.path.join("usr/lib/x-linux/Scrt1.o").exists());
    // Several at once.
    fs::remove_dir_all(&first.path).unwrap();
    std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..4).map(|_| scope.spawn(|| setup.sysroot(&packages, false, &Silent).unwrap())).collect();
        assert!(all.into_iter().all(|one| one.join().unwrap() == first));
    });
    // Nothing temporary is left.
    let left = fs::read_dir(first.path.parent().unwrap()).unwrap().count();
    assert_eq!(left, 2, "the sysroot and its lock");
}

#[test]
fn a_sysroot_that_is_not_trusted_is_compared_with_its_packages() {
    let setup = Setup::with(parts());
    let packages = setup.sysroot_packages().unwrap();
    let sysroot = setup.sysroot(&packages, false, &Silent).unwrap();
    let notes = Notes::default();
    setup.sysroot(&packages, true, &notes).unwrap();
    assert!(notes.0.lock().unwrap().is_empty());
    let file = sysroot.path.join("usr/lib/x-linux/Scrt1.o");
    fs::write_atomic(&file, b"worse", 0o644).unwrap();
    setup.sysroot(&packages, false, &notes).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"worse", "it is believed unless everything is pinned");
    setup.sysroot(&packages, true, &notes).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"start");
    let notes = notes.0.into_inner().unwrap();
    assert!(notes.len() == 1 && notes[0].contains("is not what the pinned packages give"), "{notes:?}");
}

/// The same, but the compiler's package has none of its files.
fn lacking_files() -> Vec<Published> {
    let others = parts().into_iter().filter(|package| !package.path().contains("libgcc-12"));
    let empty =
        Published::new("libgcc-12-dev", "12.2.0-14", "", |deb| deb.file("usr/lib/gcc/README", b"", 0o644));
    others.chain([empty]).collect()
}

#[test]
fn a_release_without_a_compilers_files_is_said_to_be_one() {
    let lacking = parts().into_iter().filter(|package| !package.path().contains("libgcc-12"));
    let error = Setup::with(lacking.collect()).sysroot_packages().unwrap_err();
    assert!(
        matches!(&error, Error::NoSysrootPackage { package, .. } if package == "libgcc-12-dev"),
        "{error}"
    );
    assert!(error.to_string().contains("testing has no libgcc-12-dev for arm64"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Package);
    assert!(error.hint().is_some());
    // A package of that name with nothing of the kind in it.
    let setup = Setup::with(lacking_files());
    let packages = setup.sysroot_packages().unwrap();
    let error = setup.sysroot(&packages, false, &Silent).unwrap_err();
    assert!(matches!(error, Error::NoStartFiles { .. }), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn a_sysroot_is_chosen_with_its_base_without_reading_the_indexes_again() {
    let setup = Setup::with(parts());
    let archive = setup.open(false).unwrap();
    let choose = |sysroot| {
        let request = BaseRequest { architecture: "arm64", extra: &[], sysroot };
        setup.on_host(false, &Silent, |host| archive.resolve_base(&request, host)).unwrap()
    };
    let base = choose(Some(&[][..]));
    // The indexes are gone, and what was chosen stays.
    fs::remove_dir_all(setup.cache().join("indexes")).unwrap();
    setup.archive.requests();
    let packages = setup.sysroot_packages().unwrap();
    assert!(packages.packages.iter().any(|package| package.name == "libgcc-12-dev"));
    assert_eq!(setup.archive.requests(), ["dists/testing/InRelease"]);
    assert_eq!(choose(None), base, "it changes nothing of the base");
    // A release that cannot serve as one has a base all the same.
    let without = Setup::new();
    let archive = without.open(false).unwrap();
    let request = BaseRequest { architecture: "arm64", extra: &[], sysroot: Some(&[]) };
    without.on_host(false, &Silent, |host| archive.resolve_base(&request, host)).unwrap();
}

#[test]
fn a_sysroot_is_never_taken_for_a_base() {
    let setup = Setup::with(parts());
    let packages = setup.sysroot_packages().unwrap();
    let base = setup.resolve("arm64", &[]).unwrap();
    assert_ne!(base.packages, packages.packages);
    let sysroot = setup.sysroot(&packages, false, &Silent).unwrap();
    assert_ne!(sysroot.identity, packages.identity());
    assert!(sysroot.path.ends_with(&sysroot.identity[7..39]), "{}", sysroot.path.display());
}

#[test]
fn a_sysroot_for_c_code_has_headers_and_the_library_for_cxx() {
    let setup = Setup::with(parts_for_c());
    let linked = setup.sysroot_packages().unwrap();
    assert_eq!(names(&linked), ["gcc-base", "libc6", "libc6-dev", "libgcc-12-dev", "libgcc-s1"]);
    let compiled = setup.sysroot_packages_for(true, &[]).unwrap();
    let more: Vec<&str> =
        names(&compiled).into_iter().filter(|name| !names(&linked).contains(name)).collect();
    assert_eq!(more, ["libstdc++-12-dev", "libstdc++6", "linux-libc-dev"]);
    assert!(compiled.packages.iter().all(|package| package.why != "it is asked for"));
    // Each has its own record and its own directory.
    assert_eq!(setup.sysroot_packages().unwrap(), linked);
    let for_linking = setup.sysroot(&linked, false, &Silent).unwrap();
    let for_compiling = setup.sysroot(&compiled, false, &Silent).unwrap();
    assert_ne!(for_linking.identity, for_compiling.identity);
    assert_ne!(for_linking.path, for_compiling.path);
    assert!(!for_linking.path.join("usr/include/c++").exists());
    assert!(for_compiling.path.join("usr/include/c++/12").is_dir());
    assert_eq!(fs::read(for_compiling.path.join("usr/include/c++/12/vector")).unwrap(), b"vector");
    assert_eq!(fs::read(for_compiling.path.join("usr/include/linux/version.h")).unwrap(), b"kernel");
    // The second call finds the same without the packages.
    assert_eq!(setup.sysroot(&compiled, false, &Silent).unwrap(), for_compiling);
}

#[test]
fn requested_packages_come_with_what_they_need() {
    let setup = Setup::with(parts_for_c());
    let packages = setup.sysroot_packages_for(false, &["libfoo-dev", "libc6-dev", "libfoo-dev"]).unwrap();
    assert_eq!(
        names(&packages),
        [
            "foo-data",
            "gcc-base",
            "libbar2",
            "libc6",
            "libc6-dev",
            "libfoo-dev",
            "libfoo1",
            "libgcc-12-dev",
            "libgcc-s1"
        ],
        "and no program of the target, which this archive does not even have"
    );
    let why = |name: &str| packages.packages.iter().find(|one| one.name == name).unwrap().why.as_str();
    assert_eq!((why("libfoo-dev"), why("libfoo1")), ("it is asked for", "needed by libfoo-dev"));
    assert!(why("libc6-dev").contains("start files"), "it is there for another reason");
    let sysroot = setup.sysroot(&packages, false, &Silent).unwrap();
    let at = |path: &str| sysroot.path.join(path);
    for path in [
        "usr/include/foo.h",
        "usr/lib/x-linux/libfoo.so",
        "usr/lib/x-linux/pkgconfig/foo.pc",
        "usr/lib/x-linux/cmake/foo/foo-config.cmake",
        "usr/share/cmake/bar/bar-config.cmake",
    ] {
        assert!(at(path).is_file(), "{path}");
    }
    assert!(!at("usr/bin").exists() && !at("usr/share/man").exists());
    // No link leads out: at the top there is nothing above, as in a root of its own.
    assert_eq!(fs::read_link(at("usr/lib/x-linux/out")).unwrap(), PathBuf::from("../../../etc/passwd"));
    assert!(!at("usr/lib/x-linux/out").exists());
    assert_eq!(fs::read(at("usr/lib/x-linux/turn")).unwrap(), b"libc");
    // Without them, a sysroot is what it was.
    assert_eq!(names(&setup.sysroot_packages().unwrap()).len(), 5);
}

#[test]
fn a_base_gets_what_programs_need_of_the_libraries_that_they_were_linked_against() {
    let setup = Setup::with(parts_for_c());
    let archive = setup.open(false).unwrap();
    let chosen = |base| {
        let packages = ["libfoo-dev".to_owned()];
        let request = SysrootRequest { architecture: "arm64", c_code: false, packages: &packages, base };
        setup.on_host(false, &Silent, |host| archive.resolve_sysroot(&request, host)).unwrap()
    };
    // Nothing for a base of another release.
    assert_eq!(chosen(None).at_run_time, []);
    let SysrootSet { set, at_run_time } = chosen(Some(&[]));
    let whys: Vec<_> =
        at_run_time.iter().map(|package| (package.name.as_str(), package.libraries.join(" "))).collect();
    let of = |name: &'static str, libraries: &str| (name, libraries.to_owned());
    assert_eq!(
        whys,
        [of("foo-data", "foo-data libfoo1"), of("libbar2", "libbar2 libfoo1"), of("libfoo1", "libfoo1")]
    );
    // A base that has it already needs nothing.
    let extra = ["libbar2".to_owned()];
    assert!(chosen(Some(&extra)).at_run_time.iter().all(|package| package.name != "libbar2"));
    let sysroot = setup.sysroot(&set.plain(), false, &Silent).unwrap();
    assert_eq!(sysroot.owners["libfoo.so.1"], "libfoo1");
    assert_eq!(sysroot.owners["libbar.so.2"], "libbar2");
    assert!(!sysroot.owners.contains_key("plugin"));
    let request = BaseRequest { architecture: "arm64", extra: &[], sysroot: None };
    let mut base = setup.on_host(false, &Silent, |host| resolve_base(&archive, &request, host)).unwrap();
    let needed = |name: &str| BTreeSet::from([name.to_owned(), "libown.so".to_owned()]);
    assert!(base.obtainable(&needed("libfoo.so.1")).is_empty());
    base.offer = Some(Arc::new(Offer { packages: at_run_time, owners: sysroot.owners }));
    assert_eq!(base.obtainable(&needed("libfoo.so.1")), BTreeSet::from(["libfoo.so.1".to_owned()]));
    let added = |library: &str| -> Vec<String> {
        let plain: Vec<String> = base.set.plain().packages.into_iter().map(|package| package.name).collect();
        let packages = base.base(&needed(library)).unwrap().packages.into_iter();
        packages.map(|package| package.name).filter(|name| !plain.contains(name)).collect()
    };
    assert_eq!(added("libfoo.so.1"), ["foo-data", "libbar2", "libfoo1"]);
    assert_eq!(added("libbar.so.2"), ["libbar2"]);
    assert_eq!(added("libc.so.6"), [""; 0]);
}

#[test]
fn an_unknown_package_is_an_error_with_the_nearest_names() {
    let setup = Setup::with(parts_for_c());
    let error = setup.sysroot_packages_for(true, &["libfo-dev"]).unwrap_err();
    assert!(matches!(&error, Error::UnknownPackages { .. }), "{error}");
    assert!(error.hint().unwrap().contains("`libfoo-dev`"), "{:?}", error.hint());
    // What C code needs is not needed by programs without any.
    let setup = Setup::with(parts());
    assert!(setup.sysroot_packages().is_ok());
    let error = setup.sysroot_packages_for(true, &[]).unwrap_err();
    assert!(
        matches!(&error, Error::NoSysrootPackage { package, .. } if package == "linux-libc-dev"),
        "{error}"
    );
}
