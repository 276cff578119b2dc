//! The shell step of `action.yml`, run as GitHub's runner would run it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::command::{Finished, xbuild_at};
use super::{repository, scratch};

/// A step's directory, used as `RUNNER_TEMP`.
pub(crate) struct Step {
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn action() -> String {
    fs::read_to_string(repository().join("action.yml")).expect("the action")
}

/// The lines below a key that are indented deeper than the key.
pub(crate) fn block<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let mut lines = text.lines().skip_while(|line| line.trim_end() != key);
    let first = lines.next().unwrap_or_else(|| panic!("action.yml has no line `{key}`"));
    let indent = |line: &str| line.len() - line.trim_start().len();
    lines.take_while(|line| line.is_empty() || indent(line) > indent(first)).collect()
}

/// Every input with its default.
pub(crate) fn inputs() -> BTreeMap<String, String> {
    let text = action();
    let mut inputs = BTreeMap::new();
    let mut name = String::new();
    for line in block(&text, "inputs:") {
        if let Some(default) = line.strip_prefix("    default: ") {
            inputs.insert(name.clone(), default.trim_matches('"').to_owned());
        } else if !line.starts_with("   ") {
            line.trim().trim_end_matches(':').clone_into(&mut name);
        }
    }
    inputs
}

/// The script of the step that builds.
pub(crate) fn script() -> String {
    let text = action();
    let lines = block(&text, "      run: |");
    let lines: Vec<&str> = lines.iter().map(|line| line.strip_prefix("        ").unwrap_or(line)).collect();
    lines.join("\n") + "\n"
}

impl Step {
    pub(crate) fn new() -> Self {
        let step = Self { dir: scratch() };
        fs::create_dir_all(step.path("xbuild/bin")).expect("a directory of the test");
        fs::write(step.path("script"), script()).expect("a directory of the test");
        step
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Runs the script as GitHub does, in a directory, with these inputs and the defaults of all others.
    pub(crate) fn run(&self, dir: &Path, given: &[(&str, &str)]) -> Finished {
        let mut inputs = inputs();
        for (name, value) in given {
            let known = inputs.insert((*name).to_owned(), (*value).to_owned());
            assert!(known.is_some(), "the action has no input `{name}`");
        }
        fs::write(self.path("output"), "").expect("a directory of the test");
        // With the environment of the tests' xbuild runs, so that nothing of this test's own reaches the step.
        let mut run =
            xbuild_at(Path::new("bash")).words("--noprofile --norc -e -o pipefail").arg(self.path("script"));
        run = run.dir(dir);
        for (name, value) in inputs {
            run = run.env(format!("INPUT_{}", name.to_uppercase()), value);
        }
        run.env("RUNNER_TEMP", self.dir.path()).env("GITHUB_OUTPUT", self.path("output")).run()
    }

    /// The outputs of the step.
    pub(crate) fn outputs(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.path("output")).expect("the step's file");
        let mut outputs = BTreeMap::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some((name, delimiter)) = line.split_once("<<") {
                let value: Vec<&str> = lines.by_ref().take_while(|line| *line != delimiter).collect();
                outputs.insert(name.to_owned(), value.join("\n"));
            } else {
                let (name, value) = line.split_once('=').expect("a name and a value");
                outputs.insert(name.to_owned(), value.to_owned());
            }
        }
        outputs
    }
}
