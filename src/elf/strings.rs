//! What the constant strings in a file reveal: a loader's search path, and what a program will look for in its image.

use super::GlibcVersion;
use memchr::memmem;

/// The directories that are compiled into a loader. glibc stores them as consecutive strings, each with a slash at both
/// ends. Other runs of such strings may occur by chance, so the longest run of library directories is taken.
pub(super) fn dirs(bytes: &[u8]) -> Vec<String> {
    let (mut best, mut run): (Vec<&[u8]>, Vec<&[u8]>) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    loop {
        let end = memchr::memchr(0, rest);
        let text = path_at_end(&rest[..end.unwrap_or(rest.len())]);
        let is_whole = end.is_some_and(|end| text.len() == end);
        // Any bytes may come before the first string, but only terminators between them.
        if !is_whole {
            run = keep(&mut best, run);
        }
        if text.len() > 1 && text.starts_with(b"/") && text.ends_with(b"/") {
            run.push(text);
        } else {
            run = keep(&mut best, run);
        }
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => break,
        }
    }
    keep(&mut best, run);
    best.iter().map(|text| String::from_utf8_lossy(&text[1..text.len() - 1]).into_owned()).collect()
}

fn keep<'a>(best: &mut Vec<&'a [u8]>, run: Vec<&'a [u8]>) -> Vec<&'a [u8]> {
    let of_libraries = |text: &&[u8]| memmem::find(text, b"/lib").is_some();
    if run.len() > best.len() && run.len() < 64 && run.iter().all(of_libraries) {
        *best = run;
    }
    Vec::new()
}

/// The longest suffix of some bytes that can be a path.
fn path_at_end(bytes: &[u8]) -> &[u8] {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"/_.+-".contains(byte);
    let bytes = &bytes[bytes.len().saturating_sub(4096)..];
    let length = bytes.iter().rev().take_while(|byte| is_part(byte)).count();
    &bytes[bytes.len() - length..]
}

/// The path of the loader's cache.
pub(super) fn cache(bytes: &[u8]) -> Option<String> {
    let end = memmem::find(bytes, b"/ld.so.cache\0")? + b"/ld.so.cache".len();
    let path = path_at_end(&bytes[..end]);
    let start = memchr::memchr(b'/', path)?;
    Some(String::from_utf8_lossy(&path[start + 1..]).into_owned())
}

/// The version of glibc's loader; those before 2.33 do not contain it.
pub(super) fn glibc(bytes: &[u8]) -> Option<GlibcVersion> {
    const BEFORE: &[u8] = b" release version ";
    let start = memmem::find(bytes, BEFORE)? + BEFORE.len();
    let [major, minor] = numbers(&bytes[start..])?;
    Some(GlibcVersion(major, minor))
}

/// The version of musl: a string that has just three numbers, the first of which is 0 or 1.
pub(super) fn musl(bytes: &[u8]) -> Option<(u32, u32, u32)> {
    let mut starts = memmem::find_iter(bytes, b"\0");
    starts.find_map(|start| {
        let text = &bytes[start + 1..bytes.len().min(start + 17)];
        let end = text.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
        // A version between releases continues with `-git-`.
        if end < 5 || !matches!(text[end], 0 | b'-') || !matches!(text[0], b'0' | b'1') {
            return None;
        }
        let [major, minor, patch] = numbers(text)?;
        // With a fourth number it is an IP address.
        (memchr::memchr_iter(b'.', &text[..end]).count() == 2).then_some((major, minor, patch))
    })
}

/// The numbers that some bytes begin with, separated by dots.
fn numbers<const N: usize>(bytes: &[u8]) -> Option<[u32; N]> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.').unwrap_or(bytes.len());
    let text = std::str::from_utf8(&bytes[..end.min(32)]).ok()?;
    let mut parts = text.split('.');
    let mut found = [0; N];
    for number in &mut found {
        *number = parts.next()?.parse().ok()?;
    }
    Some(found)
}

/// True if a string occurs anywhere in a file.
pub(super) fn has(bytes: &[u8], text: &[u8]) -> bool {
    memmem::find(bytes, text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let loader = b"\0ld.so (Debian GLIBC 2.36-9+deb12u14) stable release version 2.36.\n\0";
        assert_eq!(glibc(loader), Some(GlibcVersion(2, 36)));
        assert_eq!(
            glibc(b"ld.so (GNU libc) development release version 2.40.9000.\n"),
            Some(GlibcVersion(2, 40))
        );
        assert_eq!(glibc(b"\x002.31\0"), None);
        assert_eq!(musl(b"x\x001.2.3\0/etc\0"), Some((1, 2, 3)));
        assert_eq!(musl(b"\x00127.0.0.1\x001.1.24\0"), Some((1, 1, 24)));
        assert_eq!(musl(b"\x001.2.5-git-4-g0123\0"), Some((1, 2, 5)));
        for none in [&b"\x00127.0.0.1\0"[..], b"\x001.2\0", b"\x002.2.3\0", b"\x001.2.3", b"\x001..3.\0", b""]
        {
            assert_eq!(musl(none), None, "{none:?}");
        }
    }
}
