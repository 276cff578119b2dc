//! The directory of zig's own files: its headers, and the sources of the libraries that it builds.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::Zig;
use crate::sys::cancel::Cancel;
use crate::sys::process::{Command, ProcessError};

impl Zig {
    /// The directory with zig's own files, as zig reports it; `None` if it does not.
    pub(crate) fn library(&self, cancel: &Cancel) -> Result<Option<PathBuf>, ProcessError> {
        // Run in the root directory, because zig prints paths below the current directory relative to it.
        let output = Command::new(&self.program).arg("env").dir(Path::new("/")).output(cancel)?;
        Ok(told(&output.stdout).filter(|path| path.is_absolute()))
    }
}

/// Parses the directory in the output of `zig env`: `    .lib_dir = "/usr/lib/zig",`.
fn told(said: &[u8]) -> Option<PathBuf> {
    let line = said
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.trim_ascii().strip_prefix(b".lib_dir = \""))?;
    let mut path = Vec::new();
    let mut bytes = line.iter().copied();
    loop {
        match bytes.next()? {
            b'"' => return Some(OsString::from_vec(path).into()),
            b'\\' => match bytes.next()? {
                b'x' => {
                    let digits = [bytes.next()?, bytes.next()?];
                    path.push(u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?);
                }
                b'n' => path.push(b'\n'),
                b't' => path.push(b'\t'),
                b'r' => path.push(b'\r'),
                other => path.push(other),
            },
            byte => path.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_read_with_whatever_is_in_its_name() {
        let said = |path: &str| format!(".{{\n    .zig_exe = \"/z/zig\",\n    .lib_dir = \"{path}\",\n}}\n");
        let path = |text: &str| told(said(text).as_bytes()).unwrap();
        assert_eq!(path("/usr/lib/zig"), Path::new("/usr/lib/zig"));
        assert_eq!(path(r#"/a b/\"q\"\\\x09"#), Path::new("/a b/\"q\"\\\t"));
        assert_eq!(path(r"/\xc3\xa4"), Path::new("/ä"));
        assert_eq!(told(b"0.17.1\n"), None);
        assert_eq!(told(b".lib_dir = \"/no end"), None);
    }
}
