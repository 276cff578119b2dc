//! Digests of files.

use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::cancel::{Cancel, Cancelled};
use super::fs;

/// The size of the read buffer, in bytes.
const PIECE: usize = 256 << 10;

/// The SHA-256 digest of a file's bytes.
pub fn sha256_of(path: &Path) -> io::Result<[u8; 32]> {
    hash(path, || Ok(()))
}

/// The same, until `cancel` ends it: a file that the user names may be of any size.
pub fn sha256_until<E: From<io::Error> + From<Cancelled>>(
    path: &Path,
    cancel: &Cancel,
) -> Result<[u8; 32], E> {
    hash(path, || Ok(cancel.check()?))
}

fn hash<E: From<io::Error>>(path: &Path, go_on: impl Fn() -> Result<(), E>) -> Result<[u8; 32], E> {
    let mut file = fs::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; PIECE];
    loop {
        go_on()?;
        match fs::read_piece(&mut file, &mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        for path in [pipe.as_path(), Path::new("/dev/zero")] {
            assert_eq!(
                sha256_of(path).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn who_is_stopped_reads_no_further() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(hex::encode(sha256_of(file.path()).unwrap())[..8], *"e3b0c442");
        let cancel = Cancel::new();
        cancel.interrupt();
        assert!(matches!(
            sha256_until::<fs::LockError>(file.path(), &cancel),
            Err(fs::LockError::Cancelled(_))
        ));
    }
}
