//! The differences between the contents of two files: by ELF section if both are ELF files, and the first byte that
//! differs. Pure.

use std::collections::{BTreeMap, BTreeSet};

use object::{Object as _, ObjectSection as _};

use super::difference::{Place, Section};

/// The number of bytes that are shown from the first difference on.
const EXCERPT: usize = 48;
/// The number of bytes that are shown before it if they are text.
const BEFORE: usize = 16;
/// The maximum number of sections that are listed.
const MOST_SECTIONS: usize = 32;
/// The name for bytes that are in no section: the ELF header, program headers, padding.
const HEADERS: &str = "(headers)";

/// The first difference between two contents; `None` if they are the same.
pub(super) fn place(first: &[u8], second: &[u8]) -> Option<Place> {
    let common = first.iter().zip(second).take_while(|(one, other)| one == other).count();
    if common == first.len().max(second.len()) {
        return None;
    }
    Some(Place { offset: common as u64, first: excerpt(first, common), second: excerpt(second, common) })
}

/// The bytes at an offset: with the text around it if they are text, otherwise in hexadecimal.
fn excerpt(bytes: &[u8], at: usize) -> String {
    let printable = |byte: &u8| matches!(byte, b' '..=b'~');
    let rest = &bytes[at.min(bytes.len())..];
    if rest.is_empty() {
        return "the end".into();
    }
    let after = rest.iter().take(EXCERPT).take_while(|byte| printable(byte)).count();
    if after == 0 {
        return hex::encode(&rest[..rest.len().min(8)]);
    }
    let before = bytes[..at].iter().rev().take(BEFORE).take_while(|byte| printable(byte)).count();
    let text = &bytes[at - before..at + after];
    format!("{:?}", String::from_utf8_lossy(text))
}

/// The ELF sections that differ, in the order of the first file; empty unless both are ELF files.
pub(super) fn sections(first: &[u8], second: &[u8]) -> Vec<Section> {
    let (Some(one), Some(other)) = (named(first), named(second)) else { return Vec::new() };
    let mut order: Vec<&String> = one.order.iter().collect();
    order.extend(other.order.iter().filter(|name| !one.sections.contains_key(*name)));
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for name in order {
        if !seen.insert(name) || found.len() == MOST_SECTIONS {
            continue;
        }
        let (a, b) = (one.sections.get(name), other.sections.get(name));
        if a == b {
            continue;
        }
        let place = a.zip(b).and_then(|(a, b)| place(a, b));
        let size = |bytes: Option<&&[u8]>| bytes.map(|bytes| bytes.len() as u64);
        found.push(Section { name: name.clone(), first: size(a), second: size(b), place });
    }
    if found.is_empty() && first != second {
        found.push(Section {
            name: HEADERS.into(),
            first: Some(first.len() as u64),
            second: Some(second.len() as u64),
            place: place(first, second),
        });
    }
    found
}

/// The sections of an ELF file by name; a repeated name gets its section number as a suffix.
struct Named<'a> {
    order: Vec<String>,
    sections: BTreeMap<String, &'a [u8]>,
}

fn named(bytes: &[u8]) -> Option<Named<'_>> {
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    let file = object::File::parse(bytes).ok()?;
    let mut named = Named { order: Vec::new(), sections: BTreeMap::new() };
    for section in file.sections() {
        let mut name = section.name().unwrap_or("?").to_owned();
        if named.sections.contains_key(&name) {
            name = format!("{name}#{}", section.index().0);
        }
        named.sections.insert(name.clone(), section.data().unwrap_or_default());
        named.order.push(name);
    }
    Some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_shown_as_text_where_it_is_text() {
        let found = place(b"\0\0built in /home/me/app\0\x01", b"\0\0built in /tmp/x/app\0\x01").unwrap();
        assert_eq!(found.offset, 12);
        assert_eq!(found.first, "\"built in /home/me/app\"");
        assert_eq!(found.second, "\"built in /tmp/x/app\"");
        let found = place(b"abc\x01\x02", b"abc\x01\x03\x04").unwrap();
        assert_eq!((found.offset, found.first.as_str(), found.second.as_str()), (4, "02", "0304"));
        let found = place(b"abc", b"abcd").unwrap();
        assert_eq!((found.first.as_str(), found.second.as_str()), ("the end", "\"abcd\""));
        assert_eq!(place(b"same", b"same"), None);
    }

    #[test]
    fn sections_are_told_by_name() {
        let bytes = crate::sys::fs::read(crate::sys::env::current_exe().unwrap()).unwrap();
        let file = object::File::parse(bytes.as_slice()).unwrap();
        let (offset, size) = file.section_by_name(".rodata").unwrap().file_range().unwrap();
        let middle = usize::try_from(offset + size / 2).unwrap();
        let mut other = bytes.clone();
        other[middle] ^= 0x55;
        let found = sections(&bytes, &other);
        let names: Vec<&str> = found.iter().map(|section| section.name.as_str()).collect();
        assert_eq!(names, [".rodata"]);
        assert_eq!(found[0].place.as_ref().unwrap().offset, size / 2);
        // The header belongs to no section.
        let mut other = bytes.clone();
        other[7] ^= 1;
        assert_eq!(sections(&bytes, &other)[0].name, "(headers)");
        assert!(sections(&bytes, &bytes).is_empty());
        assert!(sections(b"text", &bytes).is_empty());
    }
}
