//! What the constant texts in a file tell: where a loader looks, and what a program is going to ask its image for.

use memchr::memmem;

/// The folders that a loader looks in by itself: glibc keeps them as texts one behind the other, each with a slash
/// at both ends. Several such runs may be there by chance; the one with the folders of libraries is meant.
pub(super) fn folders(bytes: &[u8]) -> Vec<String> {
    let (mut best, mut run): (Vec<&[u8]>, Vec<&[u8]>) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    loop {
        let end = memchr::memchr(0, rest);
        let text = path_at_end(&rest[..end.unwrap_or(rest.len())]);
        let is_whole = end.is_some_and(|end| text.len() == end);
        // Before the first there may be anything, between them only their ends.
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

/// The longest end of some bytes that can be a path.
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

/// True if a text is somewhere in a file.
pub(super) fn has(bytes: &[u8], text: &[u8]) -> bool {
    memmem::find(bytes, text).is_some()
}
