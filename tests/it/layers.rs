//! Bases whose layers other tools have packed: with every format of sparse files, with times that are not whole seconds
//! after 1970, and with a media type that does not match the bytes.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};
use xbuild::error::ExitCode;

use crate::support::base::{self, Layer};
use crate::support::command::{tool, xbuild};
use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::tools::json;

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

fn project() -> Project {
    let target = "[platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-musl\"\n";
    let configuration = format!("platforms = [\"linux/amd64\"]\nbase = \"oci:base\"\n{target}");
    Project::program("app").file("xbuild.toml", &configuration)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

fn plain(tar: Vec<u8>) -> Layer {
    Layer { stored: tar.clone(), tar, media_type: TAR }
}

fn verdict(image: &Path) -> Value {
    let finished = xbuild().arg("verify").arg(image).words("--strict --json").run();
    json(&finished.stdout)
}

/// The kinds of findings that an image has.
fn checks(report: &Value) -> Vec<String> {
    let platforms = report["platforms"].as_array().expect("platforms");
    let lists = std::iter::once(&report["findings"]).chain(platforms.iter().map(|one| &one["findings"]));
    let all = lists.flat_map(|list| list.as_array().expect("findings"));
    all.map(|finding| finding["check"].as_str().expect("a kind").to_owned()).collect()
}

/// A file of an archive.
fn member(archive: &Path, wanted: &str) -> (Vec<u8>, Vec<u8>) {
    let mut archive = tar::Archive::new(fs::File::open(archive).expect("an output"));
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        if entry.path().expect("a path") == Path::new(wanted) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("a file");
            let records = entry.pax_extensions().expect("records").into_iter().flatten();
            let time = records.map(|record| record.expect("a record"));
            let time =
                time.filter(|record| record.key() == Ok("mtime")).map(|record| record.value_bytes().to_vec());
            return (content, time.last().unwrap_or_default());
        }
    }
    panic!("no `{wanted}` in the archive");
}

/// A program with holes in it, as packed by GNU tar.
fn sparse(project: &Project, form: &str) -> (Vec<u8>, Vec<u8>) {
    let program = fs::read("/bin/true").expect("a program");
    let tree = project.path("tree/usr/bin");
    fs::create_dir_all(&tree).expect("a directory of the test");
    let file = fs::File::create(tree.join("sparse")).expect("a directory of the test");
    (&file).write_all(&program).expect("a directory of the test");
    file.set_len((program.len() as u64).next_multiple_of(4096) + (1 << 20)).expect("a directory of the test");
    let words = format!("-C tree -S {form} --owner=0 --group=0 --mode=0755 -cf layer.tar usr");
    tool("tar").words(&words).dir(project.dir()).run().success();
    (fs::read(tree.join("sparse")).expect("our own"), fs::read(project.path("layer.tar")).expect("our own"))
}

#[test]
fn sparse_files_have_their_names_and_bytes_in_every_form() {
    let project = project();
    for form in ["0.0", "0.1", "1.0"] {
        let (content, tar) = sparse(&project, &format!("--format=posix --sparse-version={form}"));
        assert!(tar.len() < content.len(), "{form}: nothing is left out");
        base::write_layers(&project.path("base"), &[plain(tar)], &json!({}));
        let outputs = "-o image -o type=local,dest=files -o type=tar,dest=files.tar";
        project.build().words(outputs).run().success();
        assert!(fs::read(project.path("files/usr/bin/sparse")).expect("an output") == content, "{form}");
        assert!(member(&project.path("files.tar"), "usr/bin/sparse").0 == content, "{form}");
        assert_eq!(checks(&verdict(&project.path("image"))), Vec::<String>::new(), "{form}");
        let paths = project.xbuild().words("inspect image --json").text();
        assert!(!paths.contains("GNUSparseFile"), "{form}");
    }
}

#[test]
fn what_engines_refuse_to_unpack_is_a_finding() {
    let project = project();
    let (content, tar) = sparse(&project, "--format=gnu");
    base::write_layers(&project.path("base"), &[plain(tar)], &json!({}));
    project
        .build()
        .words("-o image")
        .run()
        .fails(ExitCode::Unrunnable, &["usr/bin/sparse", "`S`", "--format=posix"]);
    let outputs = "--check off -o image -o type=local,dest=files -o type=tar,dest=files.tar";
    project.build().words(outputs).run().success();
    assert!(fs::read(project.path("files/usr/bin/sparse")).expect("an output") == content);
    assert!(member(&project.path("files.tar"), "usr/bin/sparse").0 == content);
    assert_eq!(checks(&verdict(&project.path("image"))), ["refused-entry"]);
}

#[test]
fn a_sparse_file_in_a_form_that_is_not_known_is_an_error() {
    let project = project();
    let mut builder = tar::Builder::new(Vec::new());
    let records: [(&str, &[u8]); 2] = [("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0")];
    builder.append_pax_extensions(records).expect("in memory");
    let mut header = tar::Header::new_ustar();
    header.set_size(0);
    builder.append_data(&mut header, "etc/x", std::io::empty()).expect("in memory");
    let tar = builder.into_inner().expect("in memory");
    base::write_layers(&project.path("base"), &[plain(tar)], &json!({}));
    let words = ["2.0", "0.0, 0.1 and 1.0", "hint"];
    project.build().words("-o image").run().fails(ExitCode::CorruptBase, &words);
}

#[test]
fn times_before_1970_and_parts_of_seconds_stay() {
    let project = project();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_path("etc/old").expect("a path");
    header.set_size(1);
    header.set_mode(0o644);
    let field = [[0xff; 4].as_slice(), &(-86_400_i64).to_be_bytes()].concat();
    header.as_old_mut().mtime.copy_from_slice(&field);
    header.set_cksum();
    builder.append(&header, &b"x"[..]).expect("in memory");
    builder.append_pax_extensions([("mtime", &b"-1.25"[..])]).expect("in memory");
    header.set_mtime(0);
    builder.append_data(&mut header, "etc/parts", &b"x"[..]).expect("in memory");
    let tar = builder.into_inner().expect("in memory");
    base::write_layers(&project.path("base"), &[plain(tar)], &json!({}));
    project.build().words("-o type=local,dest=files -o type=tar,dest=files.tar").run().success();
    let time = |path: &str| {
        let metadata = fs::metadata(project.path("files").join(path)).expect("an output");
        (metadata.mtime(), metadata.mtime_nsec())
    };
    assert_eq!((time("etc/old"), time("etc/parts")), ((-86_400, 0), (-2, 750_000_000)));
    let archive = project.path("files.tar");
    assert_eq!(
        (member(&archive, "etc/old").1, member(&archive, "etc/parts").1),
        (b"-86400".to_vec(), b"-1.25".to_vec())
    );
}

#[test]
fn a_layer_is_what_its_bytes_are_and_that_is_said() {
    type Case<'c> = (&'c dyn Fn(&[u8]) -> Vec<u8>, &'static str, &'static str);
    let tar = |text: &[u8]| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, "etc/mark", text).expect("in memory");
        builder.into_inner().expect("in memory")
    };
    let project = project();
    let zstd = |bytes: &[u8]| zstd::stream::encode_all(bytes, 1).expect("in memory");
    let skippable =
        |bytes: &[u8]| [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7], zstd(bytes).as_slice()].concat();
    let same: fn(&[u8]) -> Vec<u8> = <[u8]>::to_vec;
    let cases: [Case<'_>; 7] = [
        (&same, GZIP, TAR),
        (&same, ZSTD, TAR),
        (&gzip, TAR, GZIP),
        (&gzip, ZSTD, GZIP),
        (&zstd, TAR, ZSTD),
        (&zstd, GZIP, ZSTD),
        (&skippable, ZSTD, ZSTD),
    ];
    for (at, (pack, declared, real)) in cases.into_iter().enumerate() {
        let bytes = tar(format!("case {at}").as_bytes());
        let layer = Layer { stored: pack(&bytes), tar: bytes, media_type: declared };
        let base = project.path("base");
        fs::remove_dir_all(&base).ok();
        base::write_layers(&base, &[layer], &json!({}));
        let built = project.build().words("-o image -o type=local,dest=files").run().success();
        assert_eq!(
            fs::read(project.path("files/etc/mark")).expect("an output"),
            format!("case {at}").as_bytes()
        );
        let image = Layout::valid(&project.path("image")).image(&built.digest(), "linux/amd64");
        assert_eq!(image.manifest["layers"][1]["mediaType"], real, "{declared}");
        assert_eq!(checks(&verdict(&project.path("image"))), Vec::<String>::new(), "{declared}");
        let found = checks(&verdict(&base));
        if declared == real {
            assert!(!found.contains(&"layer-compression".to_owned()), "{found:?}");
        } else {
            built.tells(&["warning", declared, "its bytes are"]);
            assert!(found.contains(&"layer-compression".to_owned()), "{found:?}");
        }
    }
    // A base that containerd cannot unpack is refused, and the message names both.
    let bytes = tar(b"xz");
    fs::write(project.path("layer"), &bytes).expect("a directory of the test");
    tool("xz").words("layer").dir(project.dir()).run().success();
    let stored = fs::read(project.path("layer.xz")).expect("our own");
    base::write_layers(&project.path("base"), &[Layer { tar: bytes, stored, media_type: GZIP }], &json!({}));
    project
        .build()
        .words("-o image")
        .run()
        .fails(ExitCode::CorruptBase, &[GZIP, "compressed with xz", "hint"]);
    assert!(checks(&verdict(&project.path("base"))).contains(&"layer-compression".to_owned()));
}

#[test]
fn archives_are_read_whatever_compresses_them() {
    let project = project();
    base::write_layers(&project.path("image"), &[], &json!({}));
    let run = |program: &str, words: &str| {
        tool(program).words(words).dir(project.dir()).run().success();
    };
    run("tar", "-C image -cf image.tar .");
    run("skopeo", "copy -q oci:image docker-archive:saved.tar:example.com/team/base:1");
    let expected = project.xbuild().words("inspect oci:image --raw").text();
    let digest = project.build().words("--base oci:image -o built").run().success().digest();
    for (program, end) in [("gzip", "gz"), ("zstd", "zst"), ("xz", "xz"), ("bzip2", "bz2")] {
        run(program, "-k image.tar saved.tar");
        assert_eq!(
            project.xbuild().words(&format!("inspect oci-archive:image.tar.{end} --raw")).text(),
            expected
        );
        let base = format!("--base oci-archive:image.tar.{end} -o built");
        assert_eq!(project.build().words(&base).run().success().digest(), digest, "{end}");
        let saved = format!("docker-archive:saved.tar.{end}:example.com/team/base:1");
        project.xbuild().words(&format!("inspect {saved}")).run().success();
        project.build().words(&format!("--base {saved} -o built")).run().success();
    }
    for base in ["./image", "./image.tar", "../image"] {
        let base = base.replace(
            "../image",
            &format!("../{}/image", project.dir().file_name().expect("a name").display()),
        );
        assert_eq!(
            project.build().words(&format!("--base {base} -o built")).run().success().digest(),
            digest
        );
    }
    fs::write(project.path("noise.tar"), [0x93; 4096]).expect("a directory of the test");
    let noise = project.xbuild().words("inspect oci-archive:noise.tar").run();
    let told = noise.fails(ExitCode::CorruptImage, &["noise.tar", "not a tar archive", "hint"]);
    assert!(!told.stderr.contains("147") && !told.stderr.contains('\u{fffd}'), "{}", told.stderr);
    fs::write(project.path("image.tar.lz4"), b"\x04\x22\x4d\x18 and so on").expect("a directory of the test");
    let lz4 = project.xbuild().words("inspect oci-archive:image.tar.lz4").run();
    lz4.fails(ExitCode::CorruptImage, &["lz4", "not known", "gzip, zstd, xz and bzip2", "hint"]);
}

/// `docker load` reads layers of xz and bzip2, which no image has.
#[test]
fn layers_of_saved_archives_may_be_compressed_as_no_layer_is() {
    let project = project();
    base::write_layers(&project.path("image"), &[], &json!({}));
    let run = |program: &str, words: &str| {
        tool(program).words(words).dir(project.dir()).run().success();
    };
    run("skopeo", "copy -q oci:image docker-archive:saved.tar:example.com/team/base:1");
    fs::create_dir(project.path("saved")).expect("a directory of the test");
    run("tar", "-C saved -xf saved.tar");
    let manifest = fs::read_to_string(project.path("saved/manifest.json")).expect("an archive of Docker's");
    let layer = json_text(&manifest)[0]["Layers"][0].as_str().expect("a layer").to_owned();
    let plain = project.xbuild().words("copy docker-archive:saved.tar oci:plain").run().success();
    for (program, end) in [("xz", "xz"), ("bzip2", "bz2")] {
        run(program, &format!("-k saved/{layer}"));
        let named = manifest.replace(&layer, &format!("{layer}.{end}"));
        // It exists with the archive's mode, in which nobody may write to it.
        fs::remove_file(project.path("saved/manifest.json")).expect("our own file");
        fs::write(project.path("saved/manifest.json"), named).expect("our own file");
        run("tar", &format!("-C saved -cf {end}.tar ."));
        let copied =
            project.xbuild().words(&format!("copy docker-archive:{end}.tar oci:{end}")).run().success();
        assert_eq!(copied.digest(), plain.digest(), "{end}");
        Layout::valid(&project.path(end));
        project.build().words(&format!("--base docker-archive:{end}.tar -o built")).run().success();
    }
    // Damage is reported with the layer's name.
    let path = project.path(&format!("saved/{layer}.xz"));
    let mut bytes = fs::read(&path).expect("our own file");
    bytes.truncate(bytes.len() - 9);
    for path in [&path, &project.path("saved/manifest.json")] {
        fs::remove_file(path).expect("our own file");
    }
    fs::write(&path, bytes).expect("our own file");
    fs::write(project.path("saved/manifest.json"), manifest.replace(&layer, &format!("{layer}.xz")))
        .expect("our own file");
    run("tar", "-C saved -cf xz.tar .");
    let broken = project.xbuild().words("inspect docker-archive:xz.tar").run();
    broken.fails(ExitCode::CorruptImage, &[&format!("{layer}.xz"), "xz.tar", "broken", "hint"]);
}

fn json_text(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn what_a_base_says_of_itself_does_not_stay() {
    let project = project();
    let fields = json!({
        "author": "the base",
        "config": {
            "OnBuild": ["RUN echo of the base"],
            "Labels": { "org.opencontainers.image.version": "22.04", "org.opencontainers.image.title": "base", "team": "x" },
        },
    });
    base::write_layers(&project.path("base"), &[], &fields);
    let digest = project.build().words("-o image").run().success().digest();
    let image = Layout::valid(&project.path("image")).image(&digest, "linux/amd64");
    assert_eq!(image.config["config"]["Labels"], json!({ "team": "x" }));
    assert!(image.config["config"].get("OnBuild").is_none() && image.config.get("author").is_none());
}

#[test]
fn cargo_builds_whatever_is_set_for_a_terminal() {
    let project = project();
    base::write_layers(&project.path("base"), &[], &json!({}));
    for (name, value) in [
        ("CARGO_TERM_PROGRESS_WHEN", "always"),
        ("CARGO_TERM_QUIET", "true"),
        ("CARGO_TERM_VERBOSE", "true"),
        ("CARGO_TERM_COLOR", "always"),
        ("NO_COLOR", "1"),
    ] {
        let built = project.build().words("-o image").env(name, value).run().success();
        let coloured = built.stderr.contains('\u{1b}');
        assert_eq!(coloured, name == "CARGO_TERM_COLOR", "{name}: {}", built.stderr);
        assert!(!built.stderr.contains("Running `"), "{}", built.stderr);
    }
}
