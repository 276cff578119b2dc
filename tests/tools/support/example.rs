//! The projects in `examples/`, each built once for all the tests that check it.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use super::command::{Finished, Run, xbuild};
use super::layout::Layout;
use super::{repository, scratch_root};

/// A built example.
#[derive(Debug)]
pub(crate) struct Example {
    /// The layout that it was built into.
    pub(crate) layout: PathBuf,
    /// The digest that xbuild printed.
    pub(crate) digest: String,
    /// The finished build.
    pub(crate) finished: Finished,
}

pub(crate) static HELLO: LazyLock<Example> = LazyLock::new(|| Example::build("hello"));
pub(crate) static SERVICE: LazyLock<Example> = LazyLock::new(|| Example::build("service"));
pub(crate) static WORKSPACE: LazyLock<Example> = LazyLock::new(|| Example::build("workspace"));

/// `xbuild build` of an example, with a target directory outside it.
pub(crate) fn command(name: &str) -> Run {
    xbuild()
        .arg("build")
        .arg(repository().join("examples").join(name))
        .arg("--target-dir")
        .arg(scratch_root().join("target").join(name))
        .env("SOURCE_DATE_EPOCH", "1700000000")
}

impl Example {
    fn build(name: &str) -> Self {
        let layout = scratch_root().join("examples").join(name);
        if layout.exists() {
            fs::remove_dir_all(&layout).expect("a directory of the tests");
        }
        let finished =
            command(name).args(["--tag", &format!("{name}:test"), "--output"]).arg(&layout).run().success();
        let digest = finished.digest();
        Self { layout, digest, finished }
    }

    /// Its layout, checked.
    #[track_caller]
    pub(crate) fn open(&self) -> Layout {
        let layout = Layout::valid(&self.layout);
        assert_eq!(layout.tags().values().collect::<Vec<_>>(), [&self.digest]);
        layout
    }
}
