//! Pax records (POSIX, "pax Extended Header"), with those that GNU tar writes for sparse files.

use std::collections::BTreeMap;

use super::header::{Time, owner};
use super::sparse::{self, Form, Run};
use super::{Fault, Head};

/// The prefix of extended attributes.
const ATTRIBUTE: &str = "SCHILY.xattr.";

/// The records before an entry.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The last value of each key.
    values: BTreeMap<String, Vec<u8>>,
    /// In the form 0.0 of sparse files keys are repeated, so their order matters.
    runs: Vec<u64>,
}

impl Records {
    /// Parses records: `LENGTH KEY=VALUE` and a newline, where the length counts all of that. A value may contain
    /// newlines.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, Fault> {
        let mut records = Self::default();
        while !bytes.is_empty() {
            let blank = bytes.iter().position(|byte| *byte == b' ').ok_or(Fault::Records)?;
            let length: usize = digits(&bytes[..blank]).ok_or(Fault::Records)?;
            let record = bytes.get(blank + 1..length).ok_or(Fault::Records)?;
            bytes = &bytes[length..];
            let record = record.strip_suffix(b"\n").ok_or(Fault::Records)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(Fault::Records)?;
            let key = String::from_utf8_lossy(&record[..equals]).into_owned();
            records.add(key, &record[equals + 1..])?;
        }
        if !records.runs.len().is_multiple_of(2) {
            return Err(Fault::Sparse("an offset without a length"));
        }
        Ok(records)
    }

    fn add(&mut self, key: String, value: &[u8]) -> Result<(), Fault> {
        let text = ["path", "linkpath", "uname", "gname"].contains(&key.as_str());
        if key.is_empty() || key.contains('\0') || (text && value.contains(&0)) {
            return Err(Fault::Records);
        }
        let offset = match key.as_str() {
            "GNU.sparse.offset" => true,
            "GNU.sparse.numbytes" => false,
            _ => {
                self.values.insert(key, value.to_vec());
                return Ok(());
            }
        };
        if self.runs.len().is_multiple_of(2) != offset {
            return Err(Fault::Sparse("offsets and lengths do not alternate"));
        }
        self.runs.push(digits(value).ok_or(Fault::Sparse("an invalid number"))?);
        Ok(())
    }

    /// A value; an empty one does not override the header.
    fn value(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key).map(Vec::as_slice).filter(|value| !value.is_empty())
    }

    fn number(&self, key: &'static str) -> Result<Option<i64>, Fault> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let text = std::str::from_utf8(value).map_err(|_| Fault::Field(key))?;
        text.parse().map(Some).map_err(|_| Fault::Field(key))
    }

    /// Overrides the header with the records.
    pub(super) fn apply(&self, head: &mut Head) -> Result<(), Fault> {
        for (key, field) in [
            ("path", &mut head.path),
            ("linkpath", &mut head.link),
            ("uname", &mut head.uname),
            ("gname", &mut head.gname),
        ] {
            if let Some(value) = self.value(key) {
                *field = value.to_vec();
            }
        }
        if let Some(size) = self.number("size")? {
            head.size = u64::try_from(size).map_err(|_| Fault::Field("size"))?;
            head.stored = head.size;
        }
        if let Some(uid) = self.number("uid")? {
            head.uid = owner(uid);
        }
        if let Some(gid) = self.number("gid")? {
            head.gid = owner(gid);
        }
        if let Some(value) = self.value("mtime") {
            let time = std::str::from_utf8(value).ok().and_then(Time::parse);
            head.mtime = time.ok_or(Fault::Field("mtime"))?;
        }
        let attributes =
            self.values.iter().filter(|(key, value)| key.starts_with(ATTRIBUTE) && !value.is_empty());
        head.attributes = attributes.map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(())
    }

    /// How the content of a sparse file is stored; `None` if it is not a sparse file. Also sets the file's real name
    /// and size.
    pub(super) fn sparse(&self, head: &mut Head) -> Result<Option<Form>, Fault> {
        let text = |key: &str| self.value(key).map(|value| String::from_utf8_lossy(value).into_owned());
        let listed = self.value("GNU.sparse.map").is_some() || !self.runs.is_empty();
        let form = match (text("GNU.sparse.major").as_deref(), text("GNU.sparse.minor").as_deref()) {
            (Some("0"), Some("0" | "1")) => Form::Listed(self.map()?),
            (Some("1"), Some("0")) => Form::InContent,
            (None, None) if listed => Form::Listed(self.map()?),
            (None, None) => return Ok(None),
            (major, minor) => {
                let form = format!("{}.{}", major.unwrap_or("?"), minor.unwrap_or("?"));
                // Only a few harmless characters, whatever the record contains.
                let plain = form.chars().filter(char::is_ascii_graphic).take(16).collect();
                return Err(Fault::SparseForm { form: plain });
            }
        };
        if head.kind.has_no_content() {
            return Err(Fault::Sparse("an entry of its type has no content"));
        }
        if let Some(name) = self.value("GNU.sparse.name") {
            head.path = name.to_vec();
        }
        let size = match self.number("GNU.sparse.size")? {
            Some(size) => Some(size),
            None => self.number("GNU.sparse.realsize")?,
        };
        if let Some(size) = size {
            head.size = u64::try_from(size).map_err(|_| Fault::Sparse("a size below zero"))?;
        }
        Ok(Some(form))
    }

    /// The map in the forms 0.0 and 0.1.
    fn map(&self) -> Result<Vec<Run>, Fault> {
        let wrong = Fault::Sparse("its count does not match its numbers");
        let numbers = match self.value("GNU.sparse.map") {
            None => self.runs.clone(),
            Some(map) => map
                .split(|byte| *byte == b',')
                .map(|number| digits(number).ok_or(Fault::Sparse("an invalid number")))
                .collect::<Result<_, _>>()?,
        };
        let count = self.number("GNU.sparse.numblocks")?.and_then(|count| usize::try_from(count).ok());
        if count.and_then(|count| count.checked_mul(2)) != Some(numbers.len()) {
            return Err(wrong);
        }
        Ok(sparse::runs(&numbers))
    }
}

/// Parses a number of decimal digits only.
pub(super) fn digits<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    let plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| plain)?.parse().ok()
}
