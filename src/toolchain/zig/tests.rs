//! The ways to find zig, with programs and archives that are made here.

use std::io::Write as _;
use std::sync::Mutex;

use super::*;
use crate::config::document::parse_user;
use crate::error::{ExitCode, Explain as _, io_hint};
use crate::event::Silent;
use crate::origin::Source;
use crate::sys::fs::PermissionsExt;
use crate::sys::loopback::{Reply, Server};
use crate::target::abi::GlibcVersion;

/// A minisign key for these tests, and files that it has signed.
const KEY: &str = "RWR0ZXN0a2V5IY8VQ6HE6zthZSaFWX7PezL0P9tXNn3hRNmTJPDIqusJ";
const SIGNATURE: &str = "untrusted comment: x
RUR0ZXN0a2V5IQNTFb5BkvKzI+B7gxVNYpWFLwx8s1t7l7FQoG828fbfG178LohU9x6jBIl3OzabzNbfLzw9sStKtfR9ZnBzFwo=
trusted comment: timestamp:1700000000\tfile:zig-test.tar.xz\thashed
522dGygFyvXPbKuN21fIVG+7K8/NxWlRztSUH34l79Cf1zjEakD9cJgEaBCQEU/yLqZ+6YWeBCKLp02c6r14BQ==
";
/// The same bytes, signed under an older file's name.
const OLDER: &str = "untrusted comment: x
RUR0ZXN0a2V5IQNTFb5BkvKzI+B7gxVNYpWFLwx8s1t7l7FQoG828fbfG178LohU9x6jBIl3OzabzNbfLzw9sStKtfR9ZnBzFwo=
trusted comment: timestamp:1700000000\tfile:zig-older.tar.xz\thashed
1zrFQentQFrww/1tyj+uiRsAG5HRce9wPupHX1UjWeyauP1ltFJgH9vvKf9sQ5NrFMyePKyCN1suDKopeyA6BQ==
";
/// `zig-test/zig`, a script that prints 0.17.1, and `zig-test/lib/std.zig`.
const GOOD: &str = "fd377a585a000004e6d6b446020021011c00000010cf58cce027ff009f5d003d1a491579cd8f6bfb628e20d93a2e376ae5f6\
    9fd1b953ee15d8663fbabf4931fb6748a8ff11be3824712a5a556b1c4df298ecf23d06376cb64a57aba2cc796b5249ba28dc\
    e14f92dbaadaba7b92cea7bce4d3f2022499f9ee6c5d3dbc95a80e08d96fdfb742fddaacaa6b2925a804c7553e016dd1023b\
    cb5ace70a07dfe0d1fd80def37fc35d7c4fae78215e7babb1135917ddfd954ae803cb09328f45b150000dcd2c774fa9e6b06\
    0001bb01805000005086dd0fb1c467fb020000000004595a";
/// `zig-test/zig`, a symbolic link to `/bin/sh`.
const LINK: &str = "fd377a585a000004e6d6b446020021011c00000010cf58cce027ff005e5d003d1a491579cd8f6bfb63591afa87744921f4e0\
    fc9d83f587e3d4072d2c69fcfd484eb466b358446c509f7cfb70e7db174abc7c9fd61bd736229a197b8527d07f1111d45fed\
    09209a7b455dc427d11400982e3e2811fb58b404446b28d9000000002895811ab7b42fe200017a80500000004a450713b1c4\
    67fb020000000004595a";
/// `zig-test/../../up`.
const UP: &str = "fd377a585a000004e6d6b446020021011c00000010cf58cce027ff00635d003d1a491579cd8f6bfb62b18e1b87681bd914a2\
    73d7f19ad0ee7ea94cf090208f25c1b0b5b3bb169540b3229b0ad6e70329fe3f5e9cfbf3efc7489ba7180bc311a20ab145c0\
    4409288224496a7d9741efa802ca2f5b3a4d45b9c2a4b7fc96891cb5ef0000000309e46129022a5700017f8050000000f9d4\
    ca43b1c467fb020000000004595a";

/// A machine that has only what a test installs.
struct Machine {
    dir: fs::TempDir,
    environment: Environment,
    settings: ZigSettings,
    pinned: Option<Version>,
}

impl Machine {
    fn new(ways: &[ZigWay]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bin");
        fs::create_dir(&path).unwrap();
        let environment = [("PATH", path)].into_iter().collect();
        Self { dir, environment, settings: ZigSettings { path: None, ways: ways.to_vec() }, pinned: None }
    }

    /// Puts a shell script on `PATH`.
    fn program(&self, name: &str, script: &str) -> PathBuf {
        let path = self.dir.path().join("bin").join(name);
        fs::write_atomic(&path, format!("#!/bin/sh\n{script}\n").as_bytes(), 0o755).unwrap();
        path
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn provide(&self, client: &Client) -> Result<Zig, Error> {
        let cache = self.cache();
        let request = ZigRequest {
            settings: &self.settings,
            cache: &cache,
            environment: &self.environment,
            pinned: self.pinned.as_ref(),
            verified: None,
        };
        provide(&request, client, &Cancel::new(), &Silent)
    }

    fn attempts(&self) -> Vec<Attempt> {
        match self.provide(&Client::new(false)) {
            Err(Error::NoWay { attempts, .. }) => attempts,
            other => panic!("{other:?}"),
        }
    }
}

/// Records events.
#[derive(Default)]
struct Recorded(Mutex<Vec<Event>>);

impl Reporter for Recorded {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

#[test]
fn the_program_on_path_is_taken_if_it_is_new_enough() {
    let machine = Machine::new(&[ZigWay::Installed]);
    let program = machine.program("zig", "echo 0.16.0");
    let zig = machine.provide(&Client::new(false)).unwrap();
    assert_eq!(zig, Zig { program, version: Version::new(0, 16, 0), way: ZigWay::Installed });
    assert_eq!(zig.newest_glibc(), GlibcVersion(2, 43));

    machine.program("zig", "echo 0.14.1");
    assert!(matches!(machine.attempts()[0].reason, WayError::TooOld { .. }));
    machine.program("zig", "echo 0.15.0-dev.77+abcdef");
    assert!(matches!(machine.attempts()[0].reason, WayError::TooOld { .. }));
    machine.program("zig", "echo hello");
    assert!(matches!(machine.attempts()[0].reason, WayError::NoVersion { .. }));
}

#[test]
fn pythons_module_is_taken_by_its_programs_path() {
    let machine = Machine::new(&[ZigWay::Installed]);
    let program = machine.program("wheel-zig", "echo 0.17.1");
    machine.program("python3", &format!("echo '{}'", program.display()));
    assert_eq!(machine.provide(&Client::new(false)).unwrap().program, program);
}

#[test]
fn every_way_that_failed_is_listed_and_a_configured_path_is_warned_about() {
    let mut machine = Machine::new(ZigWay::ALL);
    machine.settings.path = Some("/no/such/zig".into());
    let reporter = Recorded::default();
    let cache = machine.cache();
    let request = ZigRequest {
        settings: &machine.settings,
        cache: &cache,
        environment: &machine.environment,
        pinned: None,
        verified: None,
    };
    let error = provide(&request, &Client::new(true), &Cancel::new(), &reporter).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Offline);
    let text = error.to_string();
    for way in ["configured: cannot start `/no/such/zig`", "installed: ", "cache: ", "tarball: ", "package: "]
    {
        assert!(text.contains(way), "{way} is not in: {text}");
    }
    let warnings = reporter.0.into_inner().unwrap();
    let is_warning = |event: &&Event| matches!(event, Event::Note { level: Level::Warning, .. });
    assert_eq!(warnings.iter().filter(is_warning).count(), 1);
}

#[test]
fn a_package_with_other_bytes_is_refused() {
    let machine = Machine::new(&[ZigWay::Cache, ZigWay::Package]);
    let file = &ZigData::get().package.file;
    // Prints its version, or writes a wheel to the directory after `--dest`.
    machine.program(
        "pip3",
        &format!("[ \"$1\" = --version ] && exit\nwhile [ \"$1\" != --dest ]; do shift; done\necho x > \"$2/{file}\""),
    );
    let attempts = machine.attempts();
    assert!(matches!(attempts[1].reason, WayError::Corrupt { .. }), "{}", attempts[1].reason);
    assert_eq!(Error::NoWay { pinned: None, attempts }.exit_code(), ExitCode::CorruptDownload);
    // Nothing is left that a later run could take for zig.
    assert_eq!(fs::read_dir(machine.cache().join("toolchains")).unwrap().count(), 1, "only the lock");
}

#[test]
fn the_hint_names_the_key_that_the_users_file_has() {
    // After a system error, another zig would not help.
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    let attempts = vec![Attempt { way: ZigWay::Tarball, reason: WayError::Io(full()) }];
    let error = Error::NoWay { pinned: None, attempts };
    assert_eq!((error.exit_code(), error.hint()), (ExitCode::DiskFull, io_hint(&full())));
    let hint = Error::NoWay { pinned: None, attempts: Vec::new() }.hint().unwrap();
    let line = "path = \"PATH\"";
    assert!(hint.contains(&format!("`{line}` under [zig]")), "{hint}");
    let (path, shown) = ("/u/config.toml".into(), "config.toml".into());
    let text = format!("[zig]\n{line}\n");
    let file = parse_user(Source { path, shown, text, foreign: false }).unwrap().value;
    assert_eq!(file.provided.path.unwrap().get_ref(), "PATH");
}

#[test]
fn pips_own_words_are_in_the_reason() {
    let machine = Machine::new(&[ZigWay::Package]);
    machine.program("pip", "[ \"$1\" = --version ] && exit\necho 'the index says no' >&2; exit 1");
    assert!(machine.attempts()[0].to_string().contains("the index says no"));
    let machine = Machine::new(&[ZigWay::Package]);
    assert!(matches!(machine.attempts()[0].reason, WayError::NoInstaller));
}

/// Fetches the archive `bytes` with `signature` from a server.
fn fetch_tarball(bytes: &str, signature: &'static str) -> (fs::TempDir, Result<(), WayError>) {
    let bytes = hex::decode(bytes).unwrap();
    let server = Server::start(move |request| {
        let signature_wanted = request.path.ends_with(".minisig");
        Reply::Whole(if signature_wanted { signature.as_bytes().to_vec() } else { bytes.clone() })
    });
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let work = Work { downloads: dir.path(), scratch: dir.path(), root: &root };
    let tarball = data::Tarball {
        url: format!("{}/zig-test.tar.xz", server.url),
        signature: format!("{}/zig-test.tar.xz.minisig", server.url),
        public_key: KEY.into(),
    };
    let result = tarball::fetch(
        &work,
        &tarball,
        &ZigData::get().version,
        &Client::new(false),
        &Cancel::new(),
        &Silent,
    );
    (dir, result)
}

#[test]
fn a_signed_archive_is_unpacked() {
    let (dir, result) = fetch_tarball(GOOD, SIGNATURE);
    result.unwrap();
    let root = dir.path().join("root");
    assert_eq!(fs::read(root.join("lib/std.zig")).unwrap(), b"//\n");
    assert_eq!(fs::metadata(root.join("zig")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_to_string(root.join(MARKER)).unwrap(), tarball::marker(&ZigData::get().version));
}

#[test]
fn an_altered_archive_and_anothers_signature_are_refused() {
    for (bytes, signature) in [(LINK, SIGNATURE), (GOOD, OLDER), (GOOD, "nonsense")] {
        let (dir, result) = fetch_tarball(bytes, signature);
        assert!(matches!(result, Err(WayError::Signature { .. })), "{result:?}");
        assert_eq!(fs::read_dir(dir.path().join("root")).unwrap().count(), 0);
        assert!(!dir.path().join("zig-test.tar.xz").exists());
    }
}

#[test]
fn archives_cannot_leave_their_directory_or_bring_links() {
    for bytes in [LINK, UP] {
        let dir = tempfile::tempdir().unwrap();
        let (archive, root) = (dir.path().join("a.tar.xz"), dir.path().join("root/root"));
        fs::create_dir_all(&root).unwrap();
        fs::write_atomic(&archive, &hex::decode(bytes).unwrap(), 0o644).unwrap();
        let result = unpack::tar_xz(&archive, &root, &Cancel::new());
        assert!(matches!(result, Err(WayError::Archive { .. })), "{result:?}");
        assert!(!dir.path().join("up").exists() && !dir.path().join("root/up").exists());
    }
}

fn wheel(entries: &[(&str, u32, &str)]) -> (fs::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.whl");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for (name, mode, content) in entries {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(*mode);
        zip.start_file(*name, options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    (dir, path)
}

#[test]
fn a_wheel_keeps_its_executable_bits_and_loses_its_metadata() {
    let (dir, path) = wheel(&[
        ("ziglang/zig", 0o755, "z"),
        ("ziglang/lib/c.h", 0o664, "c"),
        ("x.dist-info/RECORD", 0o644, ""),
    ]);
    let root = dir.path().join("root");
    unpack::wheel(&path, "ziglang", &root, &Cancel::new()).unwrap();
    let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("zig"), mode("lib/c.h")), (0o755, 0o644));
    assert_eq!(fs::read_dir(&root).unwrap().count(), 2);
}

#[test]
fn a_wheel_cannot_leave_its_directory() {
    for name in ["ziglang/../../up", "/ziglang/up", "../up"] {
        let (dir, path) = wheel(&[(name, 0o644, "x")]);
        let result = unpack::wheel(&path, "ziglang", &dir.path().join("root"), &Cancel::new());
        assert!(matches!(result, Err(WayError::Archive { .. })), "{name}: {result:?}");
        assert!(!dir.path().join("up").exists());
    }
}

#[test]
fn a_pinned_version_is_the_only_one_that_will_do() {
    let mut machine = Machine::new(ZigWay::ALL);
    let program = machine.program("zig", "echo 0.16.0");
    machine.pinned = Some(Version::new(0, 16, 0));
    assert_eq!(machine.provide(&Client::new(true)).unwrap().program, program);
    // Another version is on PATH, and the package has another version, too. The archives have every version.
    machine.pinned = Some(Version::new(0, 15, 2));
    assert_eq!(machine.provide(&Client::new(true)).unwrap_err().exit_code(), ExitCode::Offline);
    machine.settings.ways.retain(|way| *way != ZigWay::Tarball);
    let error = machine.provide(&Client::new(true)).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("zig 0.15.2, which is pinned, was not found"), "{text}");
    assert!(text.contains("is version 0.16.0, and 0.15.2 is pinned"), "{text}");
    assert!(text.contains(&format!("it provides version {}", ZigData::get().version)), "{text}");
    assert_eq!(error.exit_code(), ExitCode::Toolchain);
    assert!(error.hint().unwrap().contains("xbuild lock --update zig"));
}

/// A zig in the cache that writes to `ran` when it is run.
fn cached_zig(machine: &Machine, version: &Version, ran: &Path) -> PathBuf {
    let dir = machine.cache().join(format!("toolchains/zig-{version}"));
    fs::create_dir_all(dir.join("lib/std/os")).unwrap();
    let script = format!("#!/bin/sh\necho x >> '{}'\necho {version}\n", ran.display());
    for (path, text) in [
        ("zig", script.as_str()),
        ("lib/std.zig", "//"),
        ("lib/std-x.zig", "// sorted by bytes"),
        ("lib/std/os/linux.zig", "// deep"),
        ("lib/a b.h", ""),
        ("README.md", "not of zig itself"),
        (MARKER, &tarball::marker(version)),
    ] {
        fs::write_atomic(&dir.join(path), text.as_bytes(), 0o755).unwrap();
    }
    store::tighten(&machine.cache()).unwrap();
    dir
}

/// With `--locked`, a zig in the cache must match the digest of its files before it is run; the rest of the cache is
/// not trusted.
#[test]
fn a_zig_in_the_cache_is_held_to_its_files() {
    let machine = Machine::new(&[ZigWay::Cache]);
    let version = Version::new(0, 15, 99);
    let ran = machine.dir.path().join("ran");
    let dir = cached_zig(&machine, &version, &ran);
    // Anyone can reproduce this digest.
    let command = "find zig lib -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum";
    let said = Command::new("/bin/sh").args(["-c", command]).dir(&dir).text(&Cancel::new()).unwrap();
    let right: Digest = format!("sha256:{}", &said[..64]).parse().unwrap();
    assert_eq!(files::digest(&dir, &Cancel::new()).unwrap(), right);
    let other = Digest::of(b"other");

    let write = |path: &str, text: &str| fs::write_atomic(&dir.join(path), text.as_bytes(), 0o755).unwrap();
    let provide = |files: Option<&Digest>| {
        let (cache, reporter) = (machine.cache(), Recorded::default());
        let request = ZigRequest {
            settings: &machine.settings,
            cache: &cache,
            environment: &machine.environment,
            pinned: Some(&version),
            verified: Some(Verified { files }),
        };
        fs::remove_file(&ran).ok();
        // It is not run to determine its version.
        assert!(find(&request, &Cancel::new()).is_ok() && !ran.exists());
        let result = super::provide(&request, &Client::new(true), &Cancel::new(), &reporter);
        assert_eq!(ran.exists(), result.is_ok(), "what is not verified was run");
        let events = reporter.0.into_inner().unwrap();
        let warned = events.iter().any(|event| matches!(event, Event::Note { level: Level::Warning, .. }));
        match result {
            Ok(zig) => Ok(zig.way),
            Err(Error::NoWay { mut attempts, .. }) => Err((attempts.remove(0).reason, warned)),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(provide(Some(&right)).unwrap(), ZigWay::Cache);
    let (reason, warned) = provide(Some(&other)).unwrap_err();
    assert!(matches!(&reason, WayError::Altered { found, .. } if **found == right) && warned, "{reason}");
    // An older lock does not have their digest, and xbuild does not know that of this version.
    let (reason, _) = provide(None).unwrap_err();
    assert!(matches!(reason, WayError::NotVerified), "{reason}");
    for (path, text) in [
        ("lib/std/os/linux.zig", "// altered"),
        ("lib/more.zig", "// one more"),
        ("zig", "#!/bin/sh\necho altered\n"),
    ] {
        let before = fs::read(dir.join(path)).ok();
        write(path, text);
        let (reason, warned) = provide(Some(&right)).unwrap_err();
        assert!(matches!(reason, WayError::Altered { .. }) && warned, "{path}: {reason}");
        match before {
            Some(bytes) => write(path, std::str::from_utf8(&bytes).unwrap()),
            None => fs::remove_file(dir.join(path)).unwrap(),
        }
        assert!(provide(Some(&right)).is_ok(), "{path}");
    }
    // The target of a link may change, even if it has the right bytes now.
    let file = dir.join("lib/std.zig");
    fs::rename(&file, machine.dir.path().join("std.zig")).unwrap();
    fs::symlink(machine.dir.path().join("std.zig"), &file).unwrap();
    let (reason, warned) = provide(Some(&right)).unwrap_err();
    assert!(matches!(reason, WayError::Foreign { .. }) && warned, "{reason}");
    fs::remove_file(&file).unwrap();
    let (reason, _) = provide(Some(&right)).unwrap_err();
    assert!(matches!(reason, WayError::Altered { .. }), "{reason}");
}

#[test]
fn what_was_found_is_used_only_if_providing_would_find_the_same() {
    let toolchain = Zig { program: "/z/zig".into(), version: Version::new(0, 17, 1), way: ZigWay::Installed };
    let found = Found { toolchain, failed: Vec::new() };
    for (ways, ready) in [
        (&[ZigWay::Configured, ZigWay::Installed, ZigWay::Tarball][..], true),
        (&[ZigWay::Tarball, ZigWay::Installed], false),
        (&[ZigWay::Package, ZigWay::Installed], false),
    ] {
        let settings = ZigSettings { path: None, ways: ways.to_vec() };
        let (environment, cache) = (Environment::default(), Path::new("/c"));
        let request = ZigRequest {
            settings: &settings,
            cache,
            environment: &environment,
            pinned: None,
            verified: None,
        };
        assert_eq!(found.is_ready(&request), ready, "{ways:?}");
        let files = request.files().cloned();
        let verified = Some(Verified { files: files.as_ref() });
        let of_cache =
            Found { toolchain: Zig { way: ZigWay::Cache, ..found.toolchain.clone() }, failed: Vec::new() };
        assert!(!of_cache.is_ready(&ZigRequest { verified, ..request }), "{ways:?}");
    }
}
