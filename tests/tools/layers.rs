//! Layers and archives that are compressed with xz, bzip2 and others, or in another way than their media type says.

use std::fs;
use std::io::Write;

use serde_json::json;
use xbuild::error::ExitCode;

use crate::support::base::{self, Layer};
use crate::support::command::tool;
use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::verdict::{checks, verdict};

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
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
    let project = Project::bare("app");
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
    let project = Project::bare("app");
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
    lz4.fails(ExitCode::CorruptImage, &["lz4", "not supported", "gzip, zstd, xz and bzip2", "hint"]);
}

/// `docker load` reads layers of xz and bzip2, which no image has.
#[test]
fn layers_of_saved_archives_may_be_compressed_as_no_layer_is() {
    let project = Project::bare("app");
    base::write_layers(&project.path("image"), &[], &json!({}));
    let run = |program: &str, words: &str| {
        tool(program).words(words).dir(project.dir()).run().success();
    };
    run("skopeo", "copy -q oci:image docker-archive:saved.tar:example.com/team/base:1");
    fs::create_dir(project.path("saved")).expect("a directory of the test");
    run("tar", "-C saved -xf saved.tar");
    let manifest = fs::read_to_string(project.path("saved/manifest.json")).expect("an archive of Docker's");
    let layer = crate::support::json(&manifest)[0]["Layers"][0].as_str().expect("a layer").to_owned();
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
