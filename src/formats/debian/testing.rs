//! For tests only: package indexes.

use super::index::Universe;
use crate::sys::cancel::Cancel;

/// One paragraph of a package index.
#[derive(Clone)]
pub(super) struct Stanza {
    text: String,
}

impl Stanza {
    /// A package with a made-up file.
    pub(super) fn new(name: &str, version: &str) -> Self {
        let digest = "0".repeat(64);
        let text = format!(
            "Package: {name}\nVersion: {version}\nFilename: pool/{name}_{version}.deb\nSize: 1\nSHA256: {digest}\n"
        );
        Self { text }
    }

    /// The same with one more field.
    pub(super) fn field(mut self, name: &str, value: &str) -> Self {
        self.text.extend([name, ": ", value, "\n"]);
        self
    }
}

impl std::fmt::Display for Stanza {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// All packages of an index.
pub(super) fn universe(stanzas: &[Stanza]) -> Universe {
    let text: Vec<String> = stanzas.iter().map(ToString::to_string).collect();
    let mut universe = Universe::default();
    universe.read("http://mirror.example/debian", text.join("\n").as_bytes(), &Cancel::new()).unwrap();
    universe
}
