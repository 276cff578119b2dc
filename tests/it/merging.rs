//! Merging images by files that name no image.

use serde_json::json;
use xbuild::error::ExitCode;

use crate::support::command::Run;
use crate::support::layout::digest_of;
use crate::support::project::Project;

fn create(project: &Project, words: &str) -> Run {
    project.xbuild().words("index create").words(words)
}

#[test]
fn a_file_that_tells_no_image_is_told() {
    let project = Project::quick("app");
    let digest = digest_of(b"");
    let case = |text: &str, words: &str, code: ExitCode, expected: &[&str]| {
        project.write("file.json", text);
        create(&project, words).run().fails(code, expected);
    };
    let layout = "-o merged -t :x -f file.json";
    case("{}", layout, ExitCode::Config, &["file.json` describes no image", "containerimage.digest", "hint"]);
    case("{ \"a\": 1", layout, ExitCode::Config, &["file.json` describes no image", "EOF"]);
    case("[{ \"size\": 1 }]", layout, ExitCode::Config, &["one of its entries has no digest"]);
    let nameless = json!({ "containerimage.digest": digest }).to_string();
    case(&nameless, layout, ExitCode::Config, &["no image name in `image.name`"]);
    case("oci:nowhere\n", layout, ExitCode::NoImage, &["nowhere"]);
    create(&project, "-o merged -f none.json")
        .run()
        .fails(ExitCode::MissingFile, &["cannot read the sources"]);
}
