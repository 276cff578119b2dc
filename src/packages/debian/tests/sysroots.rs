//! Sysroots of the packages of a miniature archive.

use super::*;
use crate::packages::debian::{ProvideRequest, Sysroot, SysrootRequest, provide_sysroot};

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

impl Setup {
    fn sysroot_packages(&self) -> Result<ResolvedBase, Error> {
        let archive = self.open(false)?;
        let request = SysrootRequest { architecture: "arm64" };
        self.on_host(false, &Silent, |host| Ok(archive.resolve_sysroot(&request, host)?.plain()))
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
    let names: Vec<&str> = packages.packages.iter().map(|package| package.name.as_str()).collect();
    // Neither programs nor headers of the kernel, and the compiler of the release.
    assert_eq!(names, ["gcc-base", "libc6", "libc6-dev", "libgcc-12-dev", "libgcc-s1"]);
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
    assert!(error.to_string().contains("libgcc-12-dev"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Package);
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
    let base = choose(true);
    // The indexes are gone, and what was chosen stays.
    fs::remove_dir_all(setup.cache().join("indexes")).unwrap();
    setup.archive.requests();
    let packages = setup.sysroot_packages().unwrap();
    assert!(packages.packages.iter().any(|package| package.name == "libgcc-12-dev"));
    assert_eq!(setup.archive.requests(), ["dists/testing/InRelease"]);
    assert_eq!(choose(false), base, "it changes nothing of the base");
    // A release that cannot serve as one has a base all the same.
    let without = Setup::new();
    let archive = without.open(false).unwrap();
    let request = BaseRequest { architecture: "arm64", extra: &[], sysroot: true };
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
