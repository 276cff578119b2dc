//! Bases whose layers other tools have packed: with every format of sparse files, and with times that are not whole
//! seconds after 1970. Those that are compressed in unusual ways are in `tests/tools`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::json;
use xbuild::error::ExitCode;

use crate::support::base::{self, Layer};
use crate::support::command::tool;
use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::verdict::{checks, verdict};

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

fn plain(tar: Vec<u8>) -> Layer {
    Layer { stored: tar.clone(), tar, media_type: TAR }
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
    let project = Project::bare("app");
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
    let project = Project::bare("app");
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
    let project = Project::bare("app");
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
    let project = Project::bare("app");
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
fn what_a_base_says_of_itself_does_not_stay() {
    let project = Project::bare("app");
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
    let project = Project::bare("app");
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
