//! The system in a root filesystem, by its own description (os-release(5)).

use super::{File, Root};

/// A system's description of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// `ID`: `debian`, `ubuntu`, `alpine`; `linux` if it is missing.
    pub id: String,
    /// The release's codename: `bookworm`.
    pub codename: Option<String>,
    /// Its full name: `Alpine Linux v3.22`.
    pub name: String,
}

impl Root {
    /// The system that its os-release names; `None` if there is none.
    #[must_use]
    pub fn system(&self) -> Option<System> {
        let bytes = ["etc/os-release", "usr/lib/os-release"]
            .iter()
            .find_map(|path| self.file(path).and_then(File::bytes))?;
        Some(System::parse(&String::from_utf8_lossy(bytes)))
    }
}

impl System {
    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let mut values = text.lines().filter_map(|line| {
                let (known, value) = line.trim().split_once('=')?;
                (known == name).then(|| value.trim_matches(['"', '\'']).to_owned())
            });
            values.next_back().filter(|value| !value.is_empty())
        };
        let id = field("ID").unwrap_or_else(|| "linux".to_owned());
        // Distroless images have no VERSION_CODENAME, but VERSION="Debian GNU/Linux 12 (bookworm)".
        let codename = field("VERSION_CODENAME").or_else(|| {
            let version = field("VERSION")?;
            let (_, rest) = version.split_once('(')?;
            Some(rest.split_once(')')?.0.to_owned())
        });
        let word = |text: &String| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        let name = field("PRETTY_NAME").or_else(|| field("NAME")).unwrap_or_else(|| id.clone());
        Self { id, codename: codename.filter(word), name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_in_two_ways() {
        let system = |text| System::parse(text);
        let debian =
            system("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n");
        assert_eq!(debian.id, "debian");
        assert_eq!(debian.codename.as_deref(), Some("bookworm"));
        let distroless =
            system("PRETTY_NAME=\"Distroless\"\nID=\"debian\"\nVERSION=\"Debian GNU/Linux 12 (bookworm)\"\n");
        assert_eq!((distroless.id.as_str(), distroless.codename.as_deref()), ("debian", Some("bookworm")));
        let alpine = system(
            "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.22.1\nPRETTY_NAME=\"Alpine Linux v3.22\"\n",
        );
        assert_eq!((alpine.id.as_str(), alpine.name.as_str()), ("alpine", "Alpine Linux v3.22"));
        let ubuntu = system("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n");
        assert_eq!(ubuntu.id, "ubuntu");
        assert_eq!(system("VERSION_CODENAME=../../x\n").codename, None);
        assert_eq!(system("").name, "linux");
    }
}
