//! Arm's build attributes: which processor and which floating point unit a file was built for
//! ([ABI addenda, "Build Attributes"](https://github.com/ARM-software/abi-aa/blob/main/addenda32/addenda32.rst)).
//!
//! Linkers merge them: a file has the highest value of all its parts, including code that only runs after it has
//! checked the processor.

use serde::{Deserialize, Serialize};

use super::image::Reader;

/// The attributes of the whole file; 0 for an attribute that is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ArmAttributes {
    /// `Tag_CPU_arch`: 6 is v6, 10 is v7, 14 is v8-A, 22 is v9-A.
    pub architecture: u8,
    /// `Tag_CPU_arch_profile`: `A`, `R`, `M`, `S` or 0.
    pub profile: u8,
    /// `Tag_FP_arch`: 3 is `VFPv3`, 4 is `VFPv3-D16`, 5 is `VFPv4`, 7 is v8's.
    pub floating_point: u8,
    /// `Tag_Advanced_SIMD_arch`: 1 is NEON, 3 is v8's.
    pub simd: u8,
    /// `Tag_ABI_VFP_args`: 1 if floating point arguments are passed in VFP registers.
    pub float_arguments: u8,
}

impl ArmAttributes {
    /// True if it was built for v8 or later, and not for a microcontroller.
    #[must_use]
    pub fn is_v8(self) -> bool {
        matches!(self.architecture, 14 | 18 | 19 | 20 | 22) && self.profile != b'M'
    }

    /// True if it was built for v7 or later.
    #[must_use]
    pub fn is_v7(self) -> bool {
        matches!(self.architecture, 10 | 13..) && self.profile != b'M'
    }
}

/// Reads the section `.ARM.attributes`.
pub(super) fn parse(reader: Reader, section: &[u8]) -> Option<ArmAttributes> {
    let mut rest = section.strip_prefix(b"A")?;
    while let Some((part, next)) = part(reader, rest, 0) {
        if let Some(content) = part.get(4..).and_then(|part| part.strip_prefix(b"aeabi\0")) {
            return whole_file(reader, content);
        }
        rest = next;
    }
    None
}

/// A part that begins with its own size, counted from `at` bytes before the size field; and the bytes after it.
fn part(reader: Reader, bytes: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    let size = usize::try_from(reader.u32(bytes, at)?).ok()?;
    if size < at + 4 {
        return None;
    }
    bytes.split_at_checked(size)
}

/// The attributes under `Tag_File`.
fn whole_file(reader: Reader, mut bytes: &[u8]) -> Option<ArmAttributes> {
    while let Some((tag, _)) = bytes.split_first() {
        let (part, next) = part(reader, bytes, 1)?;
        if *tag == 1 {
            return Some(values(&part[5..]));
        }
        bytes = next;
    }
    None
}

fn values(mut bytes: &[u8]) -> ArmAttributes {
    let mut found = ArmAttributes::default();
    while let Some(tag) = number(&mut bytes) {
        // Strings: the processor's name, and by the standard's rule all unknown odd tags from 32 on.
        let text = matches!(tag, 4 | 5 | 32 | 65 | 67) || (tag > 32 && tag % 2 == 1);
        let value = if text && tag != 32 { None } else { number(&mut bytes) };
        if text {
            let Some(end) = memchr::memchr(0, bytes) else { break };
            bytes = &bytes[end + 1..];
        }
        let value = value.and_then(|value| u8::try_from(value).ok()).unwrap_or(0);
        match tag {
            6 => found.architecture = value,
            7 => found.profile = value,
            10 => found.floating_point = value,
            12 => found.simd = value,
            28 => found.float_arguments = value,
            _ => {}
        }
    }
    found
}

/// An unsigned LEB128 number.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0_u32);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: Reader = Reader { big: false, wide: false };

    /// A section with these attributes of the whole file, after another vendor's.
    fn section(attributes: &[u8]) -> Vec<u8> {
        let sized =
            |content: &[u8]| [&u32::try_from(content.len() + 4).unwrap().to_le_bytes()[..], content].concat();
        let of_file =
            [&[1][..], &u32::try_from(attributes.len() + 5).unwrap().to_le_bytes(), attributes].concat();
        let of_symbols = [&[3][..], &7_u32.to_le_bytes(), &[1, 0]].concat();
        let ours = [&b"aeabi\0"[..], &of_symbols, &of_file].concat();
        [&b"A"[..], &sized(b"gnu\0\x01\x05\0\0\0"), &sized(&ours)].concat()
    }

    #[test]
    fn attributes_are_read_behind_texts_and_unknown_ones() {
        // CPU_name "7-A", CPU_arch v7, profile A, FP_arch VFPv3-D16, SIMD, VFP_args, compatibility, unknown ones.
        let attributes = [
            &b"\x05\x37-A\0"[..],
            &[6, 10, 7, b'A', 10, 4, 12, 1],
            b"\x20\x01toolchain\0\x43\x32.09\0",
            &[0xc8, 0x01, 0x85, 0x01, 28, 1],
        ]
        .concat();
        let found = parse(READER, &section(&attributes)).unwrap();
        let expected =
            ArmAttributes { architecture: 10, profile: b'A', floating_point: 4, simd: 1, float_arguments: 1 };
        assert_eq!(found, expected);
        assert!(found.is_v7() && !found.is_v8());
        let v8 = parse(READER, &section(&[6, 14, 7, b'A'])).unwrap();
        assert!(v8.is_v8() && v8.is_v7() && v8.simd == 0);
        let controller = parse(READER, &section(&[6, 17, 7, b'M'])).unwrap();
        assert!(!controller.is_v8() && !controller.is_v7());
        assert_eq!(parse(READER, &section(&[])), Some(ArmAttributes::default()));
    }

    #[test]
    fn what_is_cut_or_has_no_end_is_none_or_what_was_read() {
        let whole = section(&[6, 10, 7, b'A', 5, b'x', 0, 12, 1]);
        assert_eq!(parse(READER, &whole).unwrap().simd, 1);
        for length in 0..whole.len() {
            assert_eq!(parse(READER, &whole[..length]), None, "{length}");
        }
        assert_eq!(parse(READER, b"B"), None);
        // A size of zero, and a string and a number without their ends.
        assert_eq!(parse(READER, b"A\0\0\0\0aeabi\0"), None);
        assert_eq!(parse(READER, &section(b"\x06\x0a\x05xx")).unwrap().architecture, 10);
        assert_eq!(parse(READER, &section(&[6, 10, 0xff, 0xff])).unwrap().architecture, 10);
        let long = [0xff; 30];
        assert_eq!(parse(READER, &section(&long)), Some(ArmAttributes::default()));
    }
}
