//! The text of a lock. The same lock always has the same text, with one fact per line, so that changes have small
//! diffs, and changes of several people can be merged.

use std::collections::BTreeSet;

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::{AssembledPin, Lock, LockError, PackagePin, SysrootPin, VERSION};
use crate::packages::{is_snapshot_date, recipe_digest};

const HEADER: &str = "\
# What this project's images are made of. `xbuild lock` writes this file, builds follow it, and
# `xbuild lock --update` takes what is current. It is meant to be committed, and not to be edited.
";

/// The text of a lock, sorted.
#[must_use]
pub fn render(lock: &Lock) -> String {
    let version = if lock.sysroot.is_empty() { VERSION - 1 } else { VERSION };
    let lock = Lock { version, ..lock.clone() }.sorted();
    // It contains only strings, numbers, lists and tables, all of which TOML supports.
    let body = toml::to_string_pretty(&lock).unwrap_or_default();
    format!("{HEADER}{body}")
}

/// Parses and checks a lock. `path` is its name in messages.
///
/// # Errors
///
/// If the text is not a lock of a known version, or contains the markers of a merge conflict.
pub fn parse(path: &str, text: &str) -> Result<Lock, LockError> {
    if let Some(line) = conflict(text) {
        return Err(LockError::Conflict { path: path.to_owned(), line });
    }
    let syntax = |error: &toml::de::Error| LockError::Syntax {
        path: path.to_owned(),
        message: error.message().replace('\n', "; "),
        text: text.to_owned(),
        span: error.span().unwrap_or(0..0),
    };
    let table = DeTable::parse(text).map_err(|error| syntax(&error))?;
    // The version is checked first: later versions cannot be judged by the rules of this one.
    if let Some(DeValue::Integer(version)) = table.get_ref().get("version").map(toml::Spanned::get_ref) {
        let found = version.to_string();
        if found.parse::<u32>().map_or(true, |found| found == 0 || found > VERSION) {
            // It may be very long.
            let found = found.chars().take(40).collect();
            return Err(LockError::Version { path: path.to_owned(), found, known: VERSION });
        }
    }
    let span = table.span();
    let value = toml::Spanned::new(span, DeValue::Table(table.into_inner()));
    let lock = Lock::deserialize(ValueDeserializer::from(value)).map_err(|error| syntax(&error))?;
    check(&lock).map_err(|reason| LockError::Damaged { path: path.to_owned(), reason })?;
    // An older format has fewer fields; those that it has mean the same.
    Ok(Lock { version: VERSION, ..lock }.sorted())
}

/// The line of the first merge conflict marker.
fn conflict(text: &str) -> Option<usize> {
    let mark = |line: &str| ["<<<<<<< ", ">>>>>>> ", "||||||| "].iter().any(|mark| line.starts_with(mark));
    text.lines().position(|line| mark(line) || line == "=======").map(|at| at + 1)
}

/// Checks what the types cannot express.
fn check(lock: &Lock) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let keys = lock.image.iter().map(|pin| (&pin.base, &pin.platform));
    for (base, platform) in keys.chain(lock.assembled.iter().map(|pin| (&pin.base, &pin.platform))) {
        if !seen.insert((base, platform)) {
            return Err(format!("it has {base} for {platform} twice"));
        }
    }
    for pin in &lock.image {
        if let Some(additions) = &pin.additions {
            let of = format!("{} for {}", pin.base, pin.platform);
            check_packages(&of, &additions.package, additions.snapshot.as_deref())?;
        }
    }
    let mut platforms = BTreeSet::new();
    for SysrootPin { platform, packages, at_run_time, .. } in &lock.sysroot {
        let of = format!("the sysroot of {platform}");
        if !platforms.insert(platform) {
            return Err(format!("it has {of} twice"));
        }
        check_packages(&of, &packages.package, packages.snapshot.as_deref())?;
        check_packages(&format!("{of} at run time"), at_run_time, None)?;
    }
    lock.assembled.iter().try_for_each(check_assembled)
}

fn check_packages(of: &str, packages: &[PackagePin], snapshot: Option<&str>) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for package in packages {
        let name = &package.name;
        if !names.insert(name) {
            return Err(format!("{of} has the package {name} twice"));
        }
        // It becomes a part of URLs.
        let part = |part: &str| !part.is_empty() && part != "." && part != "..";
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '\\');
        if !package.path.split('/').all(part) || !package.path.chars().all(plain) {
            return Err(format!("the path `{}` of {name}, {of}, is not valid in an archive", package.path));
        }
    }
    if let Some(date) = snapshot.filter(|date| !is_snapshot_date(date)) {
        return Err(format!("the snapshot `{date}` of {of} is not a time like 20260801T000000Z"));
    }
    Ok(())
}

fn check_assembled(pin: &AssembledPin) -> Result<(), String> {
    let of = format!("{} for {}", pin.base, pin.platform);
    check_packages(&of, &pin.package, pin.snapshot.as_deref())?;
    // Another recipe gives other digests, which cannot be checked here.
    if pin.recipe.to_string() == recipe_digest() {
        let digest = pin.set().plain().identity();
        if digest != pin.digest.to_string() {
            return Err(format!(
                "the packages of {of} have the digest {digest}, but it contains {}",
                pin.digest
            ));
        }
    }
    Ok(())
}
