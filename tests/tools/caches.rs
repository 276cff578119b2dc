//! xbuild's cache: who owns it, what of it is trusted, and what happens if it cannot be written to.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use xbuild::error::ExitCode;

use crate::support::command::{Run, tool};
use crate::support::layout::digest_of;
use crate::support::mirror::Mirror;
use crate::support::project::Project;
use crate::support::scratch;
use crate::support::tools::put_zig;

fn with(run: Run, cache: &Path) -> Run {
    run.env("XBUILD_CACHE_DIR", cache)
}

/// Everything below a directory, sorted, including the directory itself.
pub(crate) fn all(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    let mut at = 0;
    while let Some(path) = found.get(at).cloned() {
        if path.is_dir() && !path.is_symlink() {
            found.extend(
                fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()),
            );
        }
        at += 1;
    }
    found.sort();
    found
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn it_is_ours_alone_whatever_the_umask() {
    let project = Project::on_layout();
    for umask in ["000", "002", "077"] {
        let place = scratch();
        let cache = place.path().join("above/cache");
        with(project.build(), &cache).umask(umask).run().success();
        assert_eq!(mode(&cache), 0o700, "umask {umask}");
        let open: Vec<_> = all(&cache)
            .into_iter()
            .filter(|path| !path.is_symlink() && mode(path) & 0o022 != 0)
            .map(|path| format!("{} {:o}", path.display(), mode(&path)))
            .collect();
        assert!(open.is_empty(), "umask {umask}: {open:?}");
        // A cache made with one umask works with another.
        with(project.build(), &cache).umask("022").run().success();
    }
}

#[test]
fn what_others_may_have_written_is_refused() {
    let project = Project::on_layout();
    let place = scratch();
    let cache = place.path().join("cache");
    let build = || with(project.build(), &cache).run();
    let digest = build().success().digest();
    let first = |dir: &str| {
        let entries = fs::read_dir(cache.join(dir)).expect("a directory of the cache");
        entries.map(|entry| entry.expect("an entry").path()).find(|path| path.is_file()).expect("a record")
    };
    let parts = [
        cache.clone(),
        cache.join("rootfs"),
        first("rootfs"),
        cache.join("wrappers"),
        cache.join("wrappers/rustc"),
    ];
    for part in &parts {
        let before = mode(part);
        for wrong in [before | 0o020, before | 0o002] {
            set_mode(part, wrong);
            let shown = part.display().to_string();
            let words = [shown.as_str(), &format!("{wrong:03o}"), "hint", "chmod -R go-w", "remove it"];
            build().fails(ExitCode::Cache, &words);
            // It is not repaired: the content may have been changed.
            assert_eq!(mode(part), wrong);
        }
        set_mode(part, before);
        assert_eq!(build().success().digest(), digest);
    }
    // A script that others could write to is rewritten before it is executed.
    let script = cache.join("wrappers/rustc/rustc");
    set_mode(&script, 0o777);
    assert_eq!(build().success().digest(), digest);
    assert_eq!(mode(&script), 0o755);
    // Something else in place of a record or a directory.
    let record = first("rootfs");
    let bytes = fs::read(&record).expect("a record");
    fs::remove_file(&record).expect("ours");
    fs::create_dir(&record).expect("ours");
    build().fails(ExitCode::Cache, &["rootfs", "a directory and not a file", "hint: remove it"]);
    fs::remove_dir(&record).expect("ours");
    tool("mkfifo").arg(&record).run().success();
    build().fails(ExitCode::Cache, &["rootfs", "a pipe", "hint: remove it"]);
    fs::remove_file(&record).expect("ours");
    fs::write(&record, &bytes[..bytes.len() / 2]).expect("ours");
    assert_eq!(build().success().digest(), digest, "what is damaged is as good as absent");
    let dir = cache.join("rootfs");
    fs::remove_dir_all(&dir).expect("ours");
    fs::write(&dir, b"").expect("ours");
    build().fails(ExitCode::Cache, &["rootfs", "a file and not a directory", "hint: remove it"]);
    fs::remove_file(&dir).expect("ours");
    // `doctor` reports it, too.
    set_mode(&cache, 0o777);
    let said = with(project.xbuild().arg("doctor"), &cache).run();
    assert!(!said.status.success() && said.stdout.contains("chmod -R go-w"), "{}", said.describe());
}

/// A cache of another user. As root the test can make one; otherwise, in a user namespace, root's own files belong to
/// an unknown user.
#[test]
fn what_is_another_users_is_refused() {
    let project = Project::on_layout();
    let place = scratch();
    let cache = place.path().join("cache");
    fs::create_dir(&cache).expect("a directory of the test");
    let root = fs::metadata(&cache).expect("ours").uid() == 0;
    if root {
        std::os::unix::fs::chown(&cache, Some(4711), None).expect("root may");
        let words = ["belongs to the user 4711", "runs as 0", "hint", "without sudo", "XBUILD_CACHE_DIR"];
        with(project.build(), &cache).run().fails(ExitCode::Cache, &words);
        std::os::unix::fs::chown(&cache, Some(0), None).expect("root may");
        let digest = with(project.build(), &cache).run().success().digest();
        let part = cache.join("rootfs");
        std::os::unix::fs::chown(&part, Some(4711), None).expect("root may");
        with(project.build(), &cache).run().fails(ExitCode::Cache, &["rootfs", "user 4711", "hint"]);
        std::os::unix::fs::chown(&part, Some(0), None).expect("root may");
        for record in fs::read_dir(&part).expect("ours") {
            std::os::unix::fs::chown(record.expect("ours").path(), Some(4711), None).expect("root may");
        }
        with(project.build(), &cache).run().fails(ExitCode::Cache, &["rootfs/", "user 4711", "hint"]);
        fs::remove_dir_all(&part).expect("ours");
        assert_eq!(with(project.build(), &cache).run().success().digest(), digest);
    } else {
        let run = with(project.build(), Path::new("/usr/share")).wrapped(["unshare", "--map-root-user"]);
        run.run().fails(ExitCode::Cache, &["/usr/share", "belongs to the user 65534", "hint", "container"]);
    }
}

/// Runs it with the cache mounted read-only.
fn read_only(run: Run, cache: &Path) -> Run {
    let script = "mount --bind \"$C\" \"$C\" && mount -o remount,bind,ro \"$C\" && exec \"$@\"";
    with(run, cache)
        .wrapped(["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .env("C", cache)
}

#[test]
fn one_that_cannot_be_written_to_serves_as_far_as_it_goes() {
    let (project, mirror) = (Project::on_layout(), Mirror::start(|_, _| false));
    project.write("apt.toml", "platforms = [\"linux/amd64\"]\n[debian]\nsuites = [\"bookworm\"]\n");
    let place = scratch();
    let cache = place.path().join("cache");
    let on_packages = || {
        project
            .build()
            .words("--config apt.toml --toolchain cargo -o out")
            .env("XBUILD_DEBIAN_MIRROR", mirror.url())
    };
    // Nothing is there yet.
    fs::create_dir(&cache).expect("a directory of the test");
    read_only(on_packages(), &cache).run().fails(
        ExitCode::Cache,
        &["cannot be written to", "debian", "hint", "run once with a writable cache"],
    );
    let digests = [project.build(), on_packages()].map(|run| with(run, &cache).run().success().digest());
    let before: Vec<_> = all(&cache);
    for (run, digest) in [project.build(), on_packages(), on_packages().arg("--offline")].into_iter().zip([
        &digests[0],
        &digests[1],
        &digests[1],
    ]) {
        let said = read_only(run, &cache).run().success();
        said.digest();
        assert_eq!(said.digest(), *digest);
        said.tells(&["cannot be written to", "target/xbuild-cache"]);
    }
    // Derived data may be missing, but not what is needed.
    fs::remove_dir_all(cache.join("debian/resolved")).expect("ours");
    fs::create_dir(cache.join("debian/resolved")).expect("ours");
    set_mode(&cache.join("debian/resolved"), 0o700);
    assert_eq!(read_only(on_packages(), &cache).run().success().digest(), digests[1]);
    fs::remove_dir_all(cache.join("bases")).expect("ours");
    let words = ["linux/amd64", "cannot be written to", "bases", "hint", "run once with a writable cache"];
    read_only(on_packages(), &cache).run().fails(ExitCode::Cache, &words);
    let after: Vec<_> = all(&cache);
    assert!(after.iter().all(|path| before.contains(path)), "something was written");
}

/// A project may keep xbuild's cache in its target directory, so that a CI saves both. The lock of one must not block
/// the other.
#[test]
fn one_that_images_are_written_into_is_not_waited_for() {
    let project = Project::on_layout();
    let cache = project.path("target/xbuild");
    let build = || with(project.build(), &cache).words("--timeout 100s");
    build().run().success();
    for output in ["type=local,dest=target/xbuild/directory", "type=tar,dest=target/xbuild/app.tar"] {
        build().words("--platform linux/amd64 -o").arg(output).run().success();
    }
}

#[test]
fn whose_lock_is_waited_for_is_told() {
    let project = Project::quick("app");
    let digest = project.build().run().success().digest();
    let layout = project.default_layout("app");
    let mut other = tool("flock").args(["--exclusive", "--no-fork"]).arg(&layout).words("sleep 300").start();
    // It may not hold the lock yet.
    let taken = || !tool("flock").arg("--nonblock").arg(&layout).arg("true").run().status.success();
    let end = Instant::now() + Duration::from_secs(30);
    while !taken() && Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
    }
    let waiting = project.build().start();
    let end = Instant::now() + Duration::from_secs(120);
    while !waiting.stderr().contains("waiting for process") && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
    let said = waiting.stderr();
    assert!(said.contains("(`sleep 300`), which has locked `"), "{said}");
    assert!(!other.has_ended());
    // The run's time limit ends the wait.
    let words = ["did not finish within 3s"];
    project.build().words("--timeout 3s").run().fails(ExitCode::TimedOut, &words);
    other.signal(rustix::process::Signal::KILL);
    assert!(other.wait().was_killed());
    assert_eq!(waiting.wait().success().digest(), digest);
}

/// Changes the only file in a directory of the cache whose name matches.
fn alter(dir: &Path, like: impl Fn(&str) -> bool, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> PathBuf {
    let is_it =
        |path: &PathBuf| path.is_file() && path.file_name().is_some_and(|name| like(&name.to_string_lossy()));
    let found: Vec<PathBuf> = all(dir).into_iter().filter(is_it).collect();
    let [path] = found.as_slice() else { panic!("not one such file: {found:?}") };
    let bytes = change(fs::read(path).expect("a file of the cache"));
    fs::write(path, bytes).expect("a file of the cache");
    path.clone()
}

/// A layer with one file, and its `diff_id`.
fn layer_with(path: &str, text: &str) -> (Vec<u8>, String) {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, path, text.as_bytes()).expect("a tar archive");
    let plain = tar.into_inner().expect("memory");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).expect("memory");
    (gzip.finish().expect("memory"), digest_of(&plain))
}

/// Replaces a base's layer by another, with a matching record. Returns the record.
fn put_foreign_layer(bases: &Path) -> PathBuf {
    let (layer, unpacked) = layer_with("etc/evil", "evil");
    let stored = digest_of(&layer);
    let record = alter(
        bases,
        |name| Path::new(name).extension().is_some_and(|extension| extension == "json"),
        |bytes| {
            let mut record: serde_json::Value = serde_json::from_slice(&bytes).expect("a record");
            record["descriptor"]["digest"] = stored.clone().into();
            record["descriptor"]["size"] = layer.len().into();
            record["diff-id"] = unpacked.into();
            serde_json::to_vec(&record).expect("a record")
        },
    );
    let blob = record.parent().expect("a directory").join(stored.trim_start_matches("sha256:"));
    fs::write(&blob, &layer).expect("a directory of the cache");
    record
}

/// The cache's data about a base is derived, and anyone who can write to the cache can write other data that is
/// consistent. A build with `--locked` makes it again from what the lock pins.
#[test]
fn with_a_lock_nothing_is_believed_that_only_the_cache_says() {
    let (project, mirror) = (Project::program("app"), Mirror::start(|_, _| false));
    project.write("xbuild.toml", "platforms = [\"linux/amd64\"]\n[debian]\nsuites = [\"bookworm\"]\n");
    let place = scratch();
    let cache = place.path().join("cache");
    let run = |run: Run| {
        let run = with(run, &cache).words("--toolchain cargo").env("XBUILD_DEBIAN_MIRROR", mirror.url());
        run.run().success()
    };
    run(project.xbuild().arg("lock"));
    let locked = || run(project.build().words("--locked --offline"));
    let digest = run(project.build().arg("--locked")).digest();
    let quiet = locked();
    assert!(!quiet.stderr.contains("something else has written"), "{}", quiet.describe());
    assert_eq!(quiet.digest(), digest);

    // Another layer, with a matching record and the index of its files.
    let record = put_foreign_layer(&cache.join("bases"));
    // The cache is trusted as far as it is the user's own, and no further.
    let believed = run(project.build().words("--offline --check off"));
    assert_ne!(believed.digest(), digest, "the test alters nothing that is read");
    let said = locked();
    assert_eq!(said.digest(), digest);
    said.tells(&["warning", "linux/amd64", "bases", "something else has written to it", "made again"]);
    let quiet = locked();
    assert!(!quiet.stderr.contains("something else has written"), "{}", quiet.describe());

    // Only the blob.
    let right = fs::read(&record).expect("a record");
    let right: serde_json::Value = serde_json::from_slice(&right).expect("a record");
    let name = right["descriptor"]["digest"].as_str().expect("a digest")["sha256:".len()..].to_owned();
    let blob = record.parent().expect("a directory").join(&name);
    let mut bytes = fs::read(&blob).expect("a layer");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, bytes).expect("a layer");
    let said = locked();
    assert_eq!(said.digest(), digest);
    said.tells(&["warning", "bases", "something else has written to it"]);

    // The index of the layer's files: the project's own files would be placed elsewhere.
    let path = alter(
        &cache.join("rootfs"),
        |file| file.contains(&name),
        |bytes| {
            let text = String::from_utf8(bytes).expect("a record");
            let (_, document) = text.split_once('\n').expect("two parts");
            let document = document.replace("\"usr/bin\"", "\"usr/nib\"");
            format!("{}\n{document}", digest_of(document.as_bytes())).into_bytes()
        },
    );
    let shown = path.display().to_string();
    let said = locked();
    assert_eq!(said.digest(), digest);
    said.tells(&["warning", "the cached index of the layer", &shown, "read again"]);
    assert!(!locked().stderr.contains("the cached index of the layer"));
}

/// zig in the cache is checked against its list of files.
#[test]
fn with_a_lock_a_zig_of_other_files_is_not_used() {
    let project = Project::quick("app");
    project.xbuild().words("lock --toolchain zig").run().success();
    let lock = fs::read_to_string(project.path("xbuild.lock")).expect("a lock");
    assert!(lock.contains("\nfiles = \"sha256:"), "{lock}");
    // With the network, for the standard library.
    project.build().words("--toolchain zig --platform linux/amd64").run().success();
    let place = scratch();
    let cache = place.path().join("cache");
    put_zig(&cache);
    let build = |words: &str| {
        with(project.build(), &cache)
            .words("--toolchain zig --offline --platform linux/amd64")
            .words(words)
            .run()
    };
    let digest = build("--locked").success().digest();
    let file = all(&cache).into_iter().find(|path| path.ends_with("lib/libc/musl/src/exit/exit.c"));
    let file = file.expect("zig has the C library's sources");
    let before = fs::read(&file).expect("a source");
    fs::write(&file, [&before[..], b"\n/* altered */\n"].concat()).expect("our own copy");
    let words = ["the files in `", "are not those of zig", "expected sha256:", "found sha256:"];
    let said = build("--locked").fails(ExitCode::CorruptDownload, &words);
    said.tells(&["warning"]);
    // An older lock lacks the digest; xbuild knows that of the version that it provides.
    let older: Vec<&str> = lock.lines().filter(|line| !line.starts_with("files = ")).collect();
    let older = older.join("\n") + "\n";
    project.write("xbuild.lock", &older.replace("version = 2\n", "version = 1\n"));
    build("--locked").fails(ExitCode::CorruptDownload, &words);
    // Without `--locked` the cache is trusted as far as it is the user's own.
    assert_eq!(build("").success().digest(), digest);
    fs::write(&file, before).expect("our own copy");
    project.write("xbuild.lock", &older.replace("version = 2\n", "version = 1\n"));
    assert_eq!(build("--locked").success().digest(), digest);
    project.write("xbuild.lock", &lock);
    assert_eq!(build("--locked").success().digest(), digest);
}
