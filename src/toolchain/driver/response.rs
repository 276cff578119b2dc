//! Response files: `@file` stands for the arguments in the file.
//!
//! Programs that write them (rustc, `CMake`, ninja) use GCC's rules: white space separates, quotes and backslashes
//! escape. zig has other rules, so they are parsed here and, if the arguments are too many for a command line, written
//! again by zig's rules.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The maximum depth of nested response files, which may refer to themselves.
const DEPTH: usize = 8;
/// The maximum size of arguments on a command line, in bytes; longer ones are passed in a file. Linux allows 2 MB in
/// all, including the environment.
const LIMIT: usize = 512 * 1024;

/// Replaces response files by their arguments. `read` reads a file; if it does not exist, the argument stands for
/// itself, as for GCC.
pub(crate) fn expand(
    arguments: impl IntoIterator<Item = OsString>,
    read: &dyn Fn(&OsStr) -> io::Result<Vec<u8>>,
) -> io::Result<Vec<OsString>> {
    let mut expanded = Vec::new();
    for argument in arguments {
        expand_one(argument, read, 0, &mut expanded)?;
    }
    Ok(expanded)
}

fn expand_one(
    argument: OsString,
    read: &dyn Fn(&OsStr) -> io::Result<Vec<u8>>,
    depth: usize,
    expanded: &mut Vec<OsString>,
) -> io::Result<()> {
    let path = match argument.as_bytes() {
        [b'@', path @ ..] if !path.is_empty() && depth < DEPTH => OsStr::from_bytes(path),
        _ => {
            expanded.push(argument);
            return Ok(());
        }
    };
    match read(path) {
        Ok(text) => {
            for inner in split(&text) {
                expand_one(inner, read, depth + 1, expanded)?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            expanded.push(argument);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Splits by GCC's rules.
fn split(text: &[u8]) -> Vec<OsString> {
    let mut arguments = Vec::new();
    let mut current: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', _) => current.get_or_insert_default().extend(bytes.next()),
            (byte, Some(open)) if byte == open => quote = None,
            (b'"' | b'\'', None) => {
                quote = Some(byte);
                current.get_or_insert_default();
            }
            (byte, None) if byte.is_ascii_whitespace() => arguments.extend(current.take()),
            (byte, _) => current.get_or_insert_default().push(byte),
        }
    }
    arguments.extend(current);
    arguments.into_iter().map(OsString::from_vec).collect()
}

/// The text of a response file for zig, if the arguments are too many for a command line.
pub(super) fn for_zig(arguments: &[OsString]) -> Option<Vec<u8>> {
    written(arguments, quoted)
}

/// The same for LLVM's linker, which uses GCC's rules.
pub(super) fn for_lld(arguments: &[OsString]) -> Option<Vec<u8>> {
    written(arguments, |argument| {
        let escaped = argument.as_bytes().iter().flat_map(|byte| match byte {
            b'\\' | b'"' => vec![b'\\', *byte],
            _ => vec![*byte],
        });
        std::iter::once(b'"').chain(escaped).chain(*b"\"\n").collect()
    })
}

fn written(arguments: &[OsString], quote: impl Fn(&OsStr) -> Vec<u8>) -> Option<Vec<u8>> {
    let size: usize = arguments.iter().map(|argument| argument.len() + 1).sum();
    (size > LIMIT).then(|| arguments.iter().flat_map(|argument| quote(argument)).collect())
}

/// By zig's rules a backslash escapes only a quote, or a backslash that comes before a quote.
fn quoted(argument: &OsStr) -> Vec<u8> {
    let mut text = vec![b'"'];
    let mut backslashes = 0;
    for byte in argument.as_bytes() {
        match byte {
            b'\\' => backslashes += 1,
            b'"' => {
                text.extend(std::iter::repeat_n(b'\\', backslashes + 1));
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        text.push(*byte);
    }
    text.extend(std::iter::repeat_n(b'\\', backslashes));
    text.extend(b"\"\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(text.as_bytes()).into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn splits_as_gcc_does() {
        assert_eq!(words("a\nb  c\t"), ["a", "b", "c"]);
        assert_eq!(words(r"/a\ b\\c"), [r"/a b\c"]);
        assert_eq!(words(r#""a b" 'c "d' "e\"f" """#), ["a b", "c \"d", "e\"f", ""]);
    }

    #[test]
    fn files_are_expanded_in_their_places_and_strangers_stay() {
        let read = |path: &OsStr| match path.to_str() {
            Some("one") => Ok(b"b @two".to_vec()),
            Some("two") => Ok(b"c".to_vec()),
            Some("loop") => Ok(b"@loop".to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let expanded = expand(["a", "@one", "@none", "@", "@loop"].map(OsString::from), &read).unwrap();
        assert_eq!(expanded, ["a", "b", "c", "@none", "@", "@loop"]);
    }

    #[test]
    fn zig_gets_quotes_and_only_for_many_arguments() {
        assert_eq!(quoted(OsStr::new(r#"a\b "c"\"#)), b"\"a\\b \\\"c\\\"\\\\\"\n");
        assert_eq!(for_zig(&["a".into()]), None);
        let many = vec![OsString::from("x".repeat(1000)); 600];
        assert_eq!(for_zig(&many).unwrap().split(|byte| *byte == b'\n').count(), 601);
        let many = vec![OsString::from(r#"a b\"c"#.repeat(100_000)); 2];
        assert_eq!(split(&for_lld(&many).unwrap()), many);
    }
}
