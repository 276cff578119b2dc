//! The formats of single values: bases, outputs, time spans, tags, modes. Pure: a text in, a type or a [`Problem`] out.

use std::path::Path;
use std::time::Duration;

use super::error::Problem;
use super::{BaseSource, Compression, Owner};
use crate::layout::Selector;
use crate::packages;
use crate::target::abi::GlibcVersion;
use crate::toolchain::ToolchainChoice;

pub(super) fn form(what: &'static str, given: &str, remedy: &'static str) -> Problem {
    Problem::Form { what, given: given.to_owned(), remedy }
}

/// Parses a base. A relative path starts from `dir`.
pub(super) fn base(text: &str, dir: &Path) -> Result<BaseSource, Problem> {
    const WHAT: &str = "a base";
    const REMEDY: &str = "write `apt:bookworm`, `scratch`, `oci:PATH[:TAG]`, `docker-archive:FILE` or an image: \
                          `registry/repository:tag`";
    let image = |rest: &str| {
        let selected = Selector::split(rest).filter(|(path, _)| !path.is_empty());
        let (path, selector) = selected.ok_or_else(|| form(WHAT, text, REMEDY))?;
        Ok(BaseSource::Layout { path: dir.join(path), selector })
    };
    match text.split_once(':') {
        None if text == "scratch" => Ok(BaseSource::Scratch),
        Some(("apt", suite)) => {
            if !packages::is_suite_name(suite) {
                return Err(form(WHAT, text, "write the release's codename: `apt:bookworm`"));
            }
            Ok(BaseSource::Packages {
                suite: suite.to_owned(),
                suites: Vec::new(),
                components: Vec::new(),
                snapshot: None,
            })
        }
        // The path's content decides: a directory, an archive of one, or one of `docker save`.
        Some(("oci" | "oci-archive" | "docker-archive", rest)) => image(rest),
        Some(("docker", rest)) if rest.starts_with("//") => registry_base(&rest[2..]),
        Some(("docker-daemon" | "podman" | "containers-storage", _)) => Err(form(
            WHAT,
            text,
            "save it to a file first: `docker save -o base.tar NAME`, then `docker-archive:base.tar`",
        )),
        _ if text.is_empty() => Err(form(WHAT, text, REMEDY)),
        _ if text.starts_with(['/', '~'])
            || text.starts_with("./")
            || text.starts_with("../")
            || matches!(text, "." | "..") =>
        {
            image(text)
        }
        // A single word is more likely a typo than an image of Docker's own, though it is one.
        None if !text.contains('/') => match crate::text::nearest(text, &["scratch"]) {
            Some(_) => Err(form(WHAT, text, "did you mean `scratch`?")),
            None => registry_base(text),
        },
        _ => registry_base(text),
    }
}

/// Parses an image in a registry.
fn registry_base(text: &str) -> Result<BaseSource, Problem> {
    match text.parse() {
        Ok(name) => Ok(BaseSource::Registry { name }),
        Err(error) => Err(Problem::Name { error: Box::new(error) }),
    }
}

/// Parses the name of a package.
pub(super) fn package(text: &str) -> Result<String, Problem> {
    match packages::check_package_name(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(remedy) => Err(form("the name of a Debian package", text, remedy)),
    }
}

/// Parses a moment of the snapshot archive: as that archive writes it, or a day or a moment as people write it.
pub(super) fn snapshot(text: &str) -> Result<String, Problem> {
    const REMEDY: &str = "write it as `20260801T000000Z` or `2026-08-01`";
    packages::parse_snapshot(text).ok_or_else(|| form("a moment of Debian's snapshots", text, REMEDY))
}

/// Parses a glibc version, `2.28`.
pub(super) fn glibc(text: &str) -> Result<GlibcVersion, Problem> {
    let version = text.parse().ok().filter(|GlibcVersion(major, _)| *major == 2);
    version.ok_or_else(|| form("a version of glibc", text, "write it as `2.28`"))
}

/// Parses a toolchain's name.
pub(super) fn toolchain(text: &str) -> Result<ToolchainChoice, Problem> {
    match ToolchainChoice::by_name(text) {
        Some(choice) => Ok(choice),
        None => Err(Problem::UnknownWord {
            what: "toolchain",
            given: text.to_owned(),
            known: ToolchainChoice::NAMES.to_vec(),
        }),
    }
}

/// Parses a time span greater than zero: `45m`, `1h 30m`, `90s`.
pub(super) fn duration(text: &str) -> Result<Duration, Problem> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    parsed
        .filter(|span| *span > Duration::ZERO)
        .ok_or_else(|| form("a time span", text, "write it with its unit: `90s`, `45m`, `1h 30m`"))
}

/// Parses an age in days of 24 hours and shorter spans: `30d`, `2w`, `12h`.
pub(super) fn age(text: &str) -> Result<Duration, Problem> {
    let parsed = text.parse::<jiff::Span>().ok();
    let parsed = parsed.and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok());
    parsed
        .and_then(|span| Duration::try_from(span).ok())
        .ok_or_else(|| form("a time span", text, "write it with its unit: `30d`, `2w`, `12h`"))
}

/// Parses a limit in bytes: `5GB`, `500 MiB`, `0`.
pub(super) fn most(text: &str) -> Result<u64, Problem> {
    if text.trim() == "0" {
        return Ok(0);
    }
    bytes(text).ok_or_else(|| form("a size", text, "write it with its unit: `5GB`, `500MiB`"))
}

/// Parses a number of bytes with its unit, in the spellings of programs with such a limit: `5MB`, `1 MiB`, `100m`.
pub(super) fn size(text: &str) -> Result<u64, Problem> {
    // Nobody has a smaller limit, and it would need a great many requests for a blob.
    let least = |size: &u64| *size >= 16 << 10;
    bytes(text)
        .filter(least)
        .ok_or_else(|| form("a size", text, "write it with its unit, 16 KiB or more: `5MB`, `64MiB`"))
}

fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "kb" => Some(1_000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        "tb" => Some(1_000_000_000_000),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        "t" | "tib" => Some(1 << 40),
        _ => None,
    };
    number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor))
}

/// Parses a compression: `gzip`, `zstd:9`, `none`.
pub(super) fn compression(text: &str) -> Result<Compression, Problem> {
    let (name, level) = match text.split_once(':') {
        Some((name, level)) => (name, Some(level)),
        None => (text, None),
    };
    let level = |most: u8, remedy: &'static str| {
        level.map_or(Ok(None), |given| match given.parse::<u8>() {
            Ok(level) if (1..=most).contains(&level) => Ok(Some(level)),
            _ => Err(form("a level of compression", given, remedy)),
        })
    };
    match name {
        "gzip" => Ok(Compression::Gzip(level(9, "gzip has the levels 1 to 9")?)),
        "zstd" => Ok(Compression::Zstd(level(19, "zstd has the levels 1 to 19")?)),
        "none" | "uncompressed" if !text.contains(':') => Ok(Compression::Uncompressed),
        _ => Err(Problem::UnknownWord {
            what: "compression",
            given: text.to_owned(),
            known: vec!["gzip", "zstd", "none"],
        }),
    }
}

/// Parses a name for an image: `[registry/]repository[:tag]`, by the grammar of the distribution project's references,
/// without a digest.
pub(super) fn tag(text: &str) -> Result<String, Problem> {
    const SLASH: &str = "a tag has no slash, as the name of a branch may have: write `app:feature-x`";
    let wrong = |remedy| form("a name for an image", text, remedy);
    if text.contains('@') {
        return Err(wrong("leave the digest out: it follows from the content"));
    }
    let (path, tag) = match text.rsplit_once(':') {
        // The colon of a registry's port has a slash after it.
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (text, None),
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if let Some(tag) = tag
        && !(tag.len() <= 128
            && tag.starts_with(word)
            && tag.chars().all(|c| word(c) || c == '.' || c == '-'))
    {
        return Err(wrong("a tag has up to 128 letters, digits, `_`, `.` and `-`"));
    }
    let mut components: Vec<&str> = path.split('/').collect();
    if components.len() > 1 && (components[0].contains(['.', ':']) || components[0] == "localhost") {
        let host = components.remove(0);
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if !host.chars().all(allowed) {
            return Err(wrong("write it as `registry.example/team/app:1.0`"));
        }
        let port =
            host.rsplit_once(']').map_or(host, |(_, port)| port).rsplit_once(':').map(|(_, port)| port);
        if port.is_some_and(|port| port.is_empty() || !port.chars().all(|c| c.is_ascii_digit())) {
            return Err(wrong(SLASH));
        }
    }
    if path.contains(':') && components.iter().any(|part| part.contains(':')) {
        return Err(wrong(SLASH));
    }
    let component = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(inner)
            && part.ends_with(inner)
            && part.chars().all(|c| inner(c) || matches!(c, '.' | '_' | '-'))
            && !["..", "___", "._", "_.", ".-", "-.", "_-", "-_"].iter().any(|bad| part.contains(bad))
    };
    if components.iter().all(|part| component(part)) {
        return Ok(text.to_owned());
    }
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(wrong("write the repository in lower case"));
    }
    Err(wrong("write it as `registry.example/team/app:1.0`"))
}

/// Parses `KEY=VALUE` of an option.
pub(super) fn key_value(text: &str) -> Result<(String, String), Problem> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(form("a key and a value", text, "write it as `KEY=VALUE`")),
    }
}

/// Parses permission bits in octal digits.
pub(super) fn mode(text: &str) -> Result<u32, Problem> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 && text.chars().all(|c| c.is_digit(8)) => Ok(mode),
        _ => Err(form("permission bits", text, "write up to four octal digits: \"0644\"")),
    }
}

/// Parses a numeric owner, `uid` or `uid:gid`; the group defaults to the user's number.
pub(super) fn owner(text: &str) -> Result<Owner, Problem> {
    let wrong = || form("an owner", text, "write numbers, since names differ between bases: \"65532:65532\"");
    let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    Ok(Owner { uid: number(uid)?, gid: number(gid)? })
}

/// Parses `8080`, `8080/tcp`, `5000-5010/udp` into the form of the image's configuration.
pub(super) fn port(text: &str) -> Result<String, Problem> {
    let wrong = || form("a port", text, "write a number from 1 to 65535, or `53/udp`");
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !matches!(protocol, "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
    let ports = match ports.split_once('-') {
        Some((first, last)) => match (number(first)?, number(last)?) {
            (first, last) if first < last => format!("{first}-{last}"),
            _ => return Err(wrong()),
        },
        None => number(ports)?.to_string(),
    };
    Ok(format!("{ports}/{protocol}"))
}

/// Parses an absolute path in the image and removes `.`; `..` is refused and a trailing `/` stays.
pub(super) fn image_path(text: &str) -> Result<String, Problem> {
    if text.split('/').any(|part| part == "..") {
        return Err(Problem::Escape { given: text.to_owned(), of: "the image" });
    }
    if !text.starts_with('/') || text.contains('\0') {
        return Err(form("an absolute path", text, "write the path in the image from its root: `/srv/app`"));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let slash = if text.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    Ok(format!("/{}{slash}", parts.join("/")))
}

/// Parses a relative path or pattern below the configuration file's directory and removes `.`; `..` is refused.
pub(super) fn source_path(text: &str) -> Result<String, Problem> {
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        return Err(Problem::Escape { given: text.to_owned(), of: "the project" });
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let path = if parts.is_empty() && !text.is_empty() { ".".to_owned() } else { parts.join("/") };
    if path.is_empty() || path.contains('\0') {
        return Err(form("a path", text, "write a path relative to the configuration file"));
    }
    check_pattern(&path)?;
    Ok(path)
}

/// Parses `PACKAGE:PATTERN`: the package's specification, which may contain colons, and the files of its build.
pub(super) fn from_build(text: &str) -> Result<(String, String), Problem> {
    let remedy = "write the package and, after a colon, the file: `part:libpart.so`, `part:lib/*.so`, `std:libstd-*.so`";
    let wrong = || form("files that a build makes", text, remedy);
    let (package, from) = text.rsplit_once(':').ok_or_else(wrong)?;
    if package.is_empty() || from.is_empty() || from.starts_with('/') {
        return Err(wrong());
    }
    Ok((package.to_owned(), source_path(from)?))
}

/// Checks that `globset` accepts a pattern.
pub(super) fn check_pattern(text: &str) -> Result<(), Problem> {
    globset::Glob::new(text).map(drop).map_err(|_| {
        form("a pattern", text, "`*`, `?`, `**`, `[a-z]` and `{a,b}` are special; escape by `\\`")
    })
}

/// Parses `SOURCE_DATE_EPOCH`.
pub(super) fn epoch(text: &str) -> Result<i64, Problem> {
    // 9999 is the last year that RFC 3339 can write.
    match text.parse::<i64>() {
        Ok(seconds) if (0..=253_402_300_799).contains(&seconds) => Ok(seconds),
        _ => Err(form("a time", text, "write SOURCE_DATE_EPOCH as seconds since 1970-01-01")),
    }
}

/// Parses the URL of a mirror and removes a trailing slash.
pub(super) fn url(text: &str) -> Result<String, Problem> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(form("the URL of a mirror", text, "write it as `https://mirror.example/debian`")),
    }
}

/// Checks the name of an environment variable in the image.
pub(super) fn variable_name(text: &str) -> Result<(), Problem> {
    if text.is_empty() || text.contains(['=', '\0']) {
        return Err(form("the name of an environment variable", text, "a name has no `=`"));
    }
    Ok(())
}

/// Parses a signal's name or number.
pub(super) fn signal(text: &str) -> Result<String, Problem> {
    let number = text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    let name = text.strip_prefix("SIG").is_some_and(|name| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '+' | '-'))
    });
    if number || name {
        return Ok(text.to_owned());
    }
    Err(form("a signal", text, "write its name, `SIGTERM`, or its number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_have_units() {
        let days = |count: u64| Duration::from_secs(count * 24 * 60 * 60);
        for (text, span) in [
            ("30d", days(30)),
            ("2w", days(14)),
            ("1w 1d", days(8)),
            ("36h", Duration::from_secs(36 * 60 * 60)),
            ("0s", Duration::ZERO),
            ("PT1H", Duration::from_secs(60 * 60)),
        ] {
            assert_eq!(age(text), Ok(span), "{text}");
        }
        for text in ["", "30", "d", "-1d", "1 month", "1y", "30d ago", "9999999999w"] {
            assert!(matches!(age(text), Err(Problem::Form { .. })), "{text}: {:?}", age(text));
        }
        for (text, bytes) in [
            ("0", 0),
            ("5GB", 5_000_000_000),
            ("1TB", 1_000_000_000_000),
            ("2 TiB", 2 << 40),
            ("1k", 1024),
            ("500 MiB", 500 << 20),
        ] {
            assert_eq!(most(text), Ok(bytes), "{text}");
        }
        for text in ["", "5", "GB", "-1GB", "1.5GB", "5 apples", "99999999999TB"] {
            assert!(matches!(most(text), Err(Problem::Form { .. })), "{text}");
        }
        // A part of a blob must not be smaller than this.
        assert!(size("15KiB").is_err() && size("0").is_err() && size("16KiB").is_ok());
    }
}
