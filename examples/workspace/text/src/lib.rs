//! The texts that the programs work on: every `*.txt` of the directory that `TEXTS` names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs, io};

/// The texts by their file names, sorted.
pub fn all() -> io::Result<BTreeMap<String, String>> {
    let dir = env::var_os("TEXTS").map_or_else(|| PathBuf::from("texts"), PathBuf::from);
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            texts.insert(name, fs::read_to_string(&path)?);
        }
    }
    Ok(texts)
}

/// The words of a text, in lower case, without punctuation.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}
