//! What users of docker buildx type: outputs, annotations, reports.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use xbuild::error::ExitCode;

use crate::support::command::tool;
use crate::support::layout::{Layout, digest_of};
use crate::support::project::Project;
use crate::support::{scratch, tools};

/// The files below a directory with the digests of their contents.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let listed = tool("find").arg(dir).words("-type f -printf %P\\n").text();
    let digest = |path: &str| digest_of(&fs::read(dir.join(path)).expect("a file that was found"));
    listed.lines().map(|path| (path.to_owned(), digest(path))).collect()
}

#[test]
fn the_root_filesystem_is_what_others_unpack() {
    let project = Project::quick("app").file("data/x.txt", "x\n").file("data/deep/y.txt", "y\n");
    let configuration = fs::read_to_string(project.path("xbuild.toml")).expect("it was written");
    project.write("xbuild.toml", &(configuration + "[[files]]\nfrom = \"data\"\nto = \"/srv/data\"\n"));
    let outputs = "--output layout --output type=local,dest=root --output type=tar,dest=root.tar";
    project.build().words(outputs).run().success();
    fs::create_dir(project.path("untarred")).expect("a directory of the test");
    tool("tar").words("-C untarred -xf root.tar").dir(project.dir()).run().success();
    for (platform, dir) in [("linux/amd64", "linux_amd64"), ("linux/arm64", "linux_arm64")] {
        let unpacked = scratch();
        let expected = files(&tools::unpack(&project.path("layout"), platform, unpacked.path()));
        assert_eq!(expected.len(), 3, "{expected:?}");
        assert_eq!(files(&project.path("root").join(dir)), expected, "{platform}");
        assert_eq!(files(&project.path("untarred").join(dir)), expected, "{platform}");
    }
    // A single platform has no directory of its own.
    project.build().words("--platform amd64 --output type=local,dest=root").run().success();
    assert!(project.path("root/usr/local/bin/app").is_file() && project.path("root/linux_arm64").is_dir());
    let both = project.build().words("--output type=local,dest=flat,platform-split=false").run();
    both.fails(ExitCode::Config, &["linux/amd64 and linux/arm64 both have `/", "hint"]);
    assert!(!project.path("flat").exists());
}

#[test]
fn an_archive_on_standard_output_is_all_that_is_there() {
    let project = Project::quick("app");
    // Standard output is a file here; a pipe would get the same bytes.
    let to_file = |words: &str, file: &str| {
        let shell = ["sh", "-c", &format!("exec \"$@\" >{file}"), "sh"].map(str::to_owned);
        project.build().words(words).wrapped(shell).run().success()
    };
    to_file("--platform amd64 --output -", "root.tar");
    let names = tool("tar").words("-tf root.tar").dir(project.dir()).text();
    assert!(names.lines().any(|name| name == "usr/local/bin/app"), "{names}");
    to_file("--output type=oci --tag app:1", "all.tar");
    project.build().words("--output type=oci,dest=same.tar --tag app:1").run().success();
    let read = |name: &str| fs::read(project.path(name)).expect("an archive");
    assert!(read("all.tar") == read("same.tar"), "standard output has other bytes than a file");
    to_file("--platform amd64 --output type=docker,dest=- --tag app:1", "docker.tar");
    let item = tools::json(&tool("tar").dir(project.dir()).words("-xOf docker.tar manifest.json").text());
    assert_eq!(item[0]["RepoTags"][0], "app:1");
    // `script` provides a terminal.
    let line = format!("{} build --output - .", env!("CARGO_BIN_EXE_xbuild"));
    let run = tool("script").args(["-qec", &line, "/dev/null"]).dir(project.dir()).run();
    assert!(run.stdout.contains("an archive cannot be written to a terminal"), "{}", run.describe());
}

#[test]
fn annotations_go_where_they_are_told() {
    let project = Project::quick("app");
    let words = "--output image --tag app:1 --annotation plain=1 --annotation index:of=index \
                 --annotation manifest-descriptor[linux/arm64]:of=entry --annotation index-descriptor:of=layout \
                 --annotation manifest[amd64],index:both=2";
    let digest = project.build().words(words).run().success().digest();
    let layout = Layout::valid(&project.path("image"));
    assert_eq!(layout.entries[0]["annotations"]["of"], "layout");
    let index = layout.document(&digest);
    let annotations = &index["annotations"];
    assert_eq!(
        (&annotations["of"], &annotations["both"], annotations.get("plain")),
        (&"index".into(), &"2".into(), None)
    );
    assert_eq!(index["manifests"][1]["annotations"]["of"], "entry");
    assert_eq!(index["manifests"][0].get("annotations"), None);
    let of = |platform: &str| layout.image(&digest, platform).manifest["annotations"].clone();
    assert_eq!((&of("linux/amd64")["plain"], &of("linux/amd64")["both"]), (&"1".into(), &"2".into()));
    assert_eq!((&of("linux/arm64")["plain"], of("linux/arm64").get("both")), (&"1".into(), None));
    // As fields of an output they mean the same.
    let fields = "--tag app:1 --output type=oci,tar=false,dest=other,annotation.plain=1,annotation-index.of=index,\
                  annotation-manifest-descriptor[linux/arm64].of=entry,annotation-index-descriptor.of=layout,\
                  annotation-manifest[amd64].both=2,annotation-index.both=2";
    assert_eq!(project.build().words(fields).run().success().digest(), digest);
}

#[test]
fn reports_tell_every_platforms_digest() {
    let project = Project::quick("app");
    let words = "--output image --tag example.com/team/app:1 --tag app:2 --metadata-file out.json --iidfile id \
                 --image-refs refs";
    let digest = project.build().words(words).run().success().digest();
    let read = |name: &str| fs::read_to_string(project.path(name)).expect("a report");
    let layout = Layout::valid(&project.path("image"));
    let metadata = tools::json(&read("out.json"));
    assert_eq!(metadata["containerimage.digest"], digest.as_str());
    assert_eq!(metadata["containerimage.descriptor"]["digest"], digest.as_str());
    assert_eq!(metadata["image.name"], "docker.io/library/app:2,example.com/team/app:1");
    let mut references = Vec::new();
    for repository in ["app", "example.com/team/app"] {
        references.push(format!("{repository}@{digest}"));
        for entry in layout.document(&digest)["manifests"].as_array().expect("an index") {
            let manifest = entry["digest"].as_str().expect("a digest");
            references.push(format!("{repository}@{manifest}"));
            let platform = format!("linux/{}", entry["platform"]["architecture"].as_str().expect("a text"));
            assert_eq!(metadata[format!("containerimage.digest/{platform}")], manifest);
            let config = layout.document(manifest)["config"]["digest"].clone();
            assert_eq!(metadata[format!("containerimage.config.digest/{platform}")], config);
        }
    }
    assert_eq!(read("refs").lines().collect::<Vec<_>>(), references);
    assert_eq!(read("id"), digest);
    // For one platform, the ID is docker's, the configuration's digest; `-q` prints only the ID.
    let one =
        project.build().words("-q --platform amd64 --metadata-file one.json --iidfile id").run().success();
    let config = tools::json(&read("one.json"))["containerimage.config.digest"].clone();
    assert_eq!(
        (one.stdout.trim(), read("id").as_str()),
        (config.as_str().expect("a digest"), one.stdout.trim())
    );
    assert_eq!(one.stderr, "");
    // A report that cannot be written is detected before anything is compiled.
    project.write("src/main.rs", "fn main() { this is no Rust }\n");
    let run = project.build().words("--metadata-file nowhere/m.json").run();
    run.fails(ExitCode::Io, &["nowhere"]);
}

#[test]
fn outputs_that_contradict_each_other() {
    let project = Project::quick("app");
    for (words, expected) in [
        ("-o - -o type=oci", "both go to standard output"),
        ("-o type=docker,dest=d.tar", "one platform, but 2 are built"),
        ("-o type=oci,dest=a,compression=zstd --compression gzip", "compressed with gzip and with zstd"),
        ("-o x -o type=oci,dest=x", "given twice"),
        ("-o type=zip,dest=x", "unknown output type `zip`"),
        ("-o type=oci,dst=x", "unknown field of an output `dst`"),
        ("-o type=local", "is not an output"),
        ("-o type=oci,dest=x,force-compression=true", "is not an output"),
        ("--annotation indx:k=v", "unknown level of an annotation"),
        ("--annotation manifest[linux/s390x]:k=v", "not one of the platforms"),
    ] {
        project.build().words(words).run().fails(ExitCode::Usage, &[expected, "hint"]);
    }
    assert!(!project.path("target").exists() && !project.path("x").exists());
}
