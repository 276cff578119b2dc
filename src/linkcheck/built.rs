//! What is known only about an image that was just built: the machine's paths in its programs, and which of the missing
//! libraries the build made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Problem};
use super::{Report, Request};

/// Paths of this machine in a file, each with the variable that it likely comes from.
pub(crate) type MachinePaths = BTreeMap<String, Vec<(String, Option<&'static str>)>>;

impl Report {
    /// Adds a finding for each path of this machine that a file contains and the image does not have. The keys of
    /// `paths` are the files' absolute paths in the image.
    pub(crate) fn add_machine_paths(&mut self, request: &Request<'_>, paths: &MachinePaths) {
        for (file, paths) in paths {
            for (path, variable) in paths {
                if request.root.lookup(path).is_some() {
                    continue;
                }
                let problem =
                    Problem::MachinePath { path: path.clone(), variable: variable.map(ToOwned::to_owned) };
                self.findings.push(Finding {
                    platform: request.platform.clone(),
                    severity: problem.severity(),
                    file: file.clone(),
                    remedy: super::remedy::remedy(request, &problem),
                    problem,
                    allowed: None,
                });
            }
        }
        self.findings
            .sort_by(|a, b| (b.severity, &a.file, &a.problem).cmp(&(a.severity, &b.file, &b.problem)));
    }

    /// Rewrites the remedies for missing libraries that the project's build makes. `made` returns the value of
    /// `from-build` for a library's name. Searched directories below `machine` are paths of this machine, which do not
    /// exist in an image.
    pub(crate) fn explain_built(&mut self, machine: &[PathBuf], made: impl Fn(&str) -> Option<String>) {
        for finding in &mut self.findings {
            let Problem::MissingLibrary { library, searched, elsewhere, .. } = &finding.problem else {
                continue;
            };
            // The library is in the image, but in the wrong directory.
            if !elsewhere.is_empty() {
                continue;
            }
            if let Some(from_build) = made(library) {
                finding.remedy = format!(
                    "the build makes it: add it with [[files]], `from-build = \"{from_build}\"` and `to = \"{}/\"`",
                    dir_for(searched, machine)
                );
            }
        }
    }
}

/// The best directory for a library, of those that its loader searches: one that the program itself names, or else the
/// general one, which is the same on all platforms.
fn dir_for(searched: &[String], machine: &[PathBuf]) -> String {
    let usual = |dir: &str| {
        ["/lib", "/usr/lib", "/lib64", "/usr/lib64"].iter().any(|own| Path::new(dir).starts_with(own))
    };
    let of_machine = |dir: &String| machine.iter().any(|own| Path::new(dir).starts_with(own));
    let dirs: Vec<String> = searched
        .iter()
        .filter(|place| {
            place.starts_with('/') && !place.ends_with("/ld.so.cache") && !place.contains("/glibc-hwcaps")
        })
        .map(|place| plain_path(place))
        .filter(|dir| !of_machine(dir))
        .collect();
    let has = |wanted: &str| dirs.iter().find(|dir| *dir == wanted);
    let chosen = has("/usr/local/lib")
        .or_else(|| dirs.iter().find(|dir| !usual(dir)))
        .or_else(|| has("/usr/lib"))
        .or_else(|| dirs.last());
    chosen.cloned().unwrap_or_else(|| "/usr/lib".to_owned())
}

/// An absolute path without `.` and `..`.
pub(crate) fn plain_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(searched: &[&str]) -> String {
        let searched: Vec<String> = searched.iter().map(|place| (*place).to_owned()).collect();
        dir_for(&searched, &["/w".into()])
    }

    #[test]
    fn a_library_goes_where_its_loader_looks() {
        let usual =
            ["/etc/ld.so.cache", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib", "/usr/lib"];
        assert_eq!(dir(&usual), "/usr/lib");
        assert_eq!(dir(&["/usr/local/bin/../lib", "/etc/ld.so.cache", "/lib", "/usr/lib"]), "/usr/local/lib");
        assert_eq!(dir(&["/w/target/out", "/opt/app/lib", "/lib", "/usr/lib"]), "/opt/app/lib");
        assert_eq!(dir(&["/lib", "/usr/local/lib", "/usr/lib"]), "/usr/local/lib");
        assert_eq!(dir(&["/lib64", "/usr/lib64"]), "/usr/lib64");
        assert_eq!(dir(&[]), "/usr/lib");
    }
}
