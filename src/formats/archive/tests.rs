use std::io::{Cursor, Read};

use proptest::prelude::*;

use super::header::number;
use super::*;

/// A header block of ustar, or with another magic, and the content after it.
fn entry(name: &str, kind: u8, content: &[u8], change: impl FnOnce(&mut [u8; 512])) -> Vec<u8> {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[136..147].copy_from_slice(b"00000000007");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    change(&mut block);
    summed(&mut block);
    let mut bytes = block.to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn summed(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(name, b'0', content, |_| {})
}

/// The block of pax records.
fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..rest + 10).find(|length| rest + length.to_string().len() == *length).unwrap();
        text.extend_from_slice(format!("{length} {key}=").as_bytes());
        text.extend_from_slice(value);
        text.push(b'\n');
    }
    entry("pax", b'x', &text, |_| {})
}

/// Every entry with its content.
fn all(bytes: &[u8]) -> Result<Vec<(Head, Vec<u8>)>, Fault> {
    let fault = |error: io::Error| Fault::of(&error).unwrap_or_else(|| panic!("{error}")).clone();
    let (mut found, mut sought) = (Vec::new(), Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some(mut entry) = reader.next_entry().map_err(fault)? {
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(fault)?;
        assert_eq!(content.len() as u64, entry.head.size);
        found.push((entry.head, content));
    }
    // The same if unread content is skipped, and the content is read at its offset.
    let mut reader = Reader::seeking(Cursor::new(bytes));
    while let Some(entry) = reader.next_entry().map_err(fault)? {
        let mut content = Vec::new();
        for Piece { offset, length } in entry.pieces() {
            let length = usize::try_from(length).unwrap();
            match offset.map(|offset| usize::try_from(offset).unwrap()) {
                Some(offset) => content.extend_from_slice(&bytes[offset..offset + length]),
                None => content.resize(content.len() + length, 0),
            }
        }
        sought.push((entry.head, content));
    }
    assert_eq!(found, sought);
    Ok(found)
}

fn only(bytes: &[u8]) -> (Head, Vec<u8>) {
    let mut all = all(bytes).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Two runs in a file of 4,000 bytes.
fn holes() -> Vec<u8> {
    let mut content = vec![0; 4000];
    content[512..1024].fill(b'a');
    content[2048..2058].fill(b'b');
    content
}

fn stored() -> Vec<u8> {
    [[b'a'; 512].as_slice(), &[b'b'; 10]].concat()
}

/// The same file in each form of GNU tar.
fn sparse() -> Vec<(&'static str, Vec<u8>)> {
    let name = ("GNU.sparse.name", b"real/name".as_slice());
    let size = b"4000".as_slice();
    let map = b"2\n512\n512\n2048\n10\n";
    let mut in_front = map.to_vec();
    in_front.resize(512, 0);
    in_front.extend(stored());
    let old = entry("real/name", b'S', &stored(), |block| {
        block[257..265].copy_from_slice(b"ustar  \0");
        for (at, number) in [(386, 512), (398, 512), (410, 2048), (422, 10), (483, 4000)] {
            block[at..at + 11].copy_from_slice(format!("{number:011o}").as_bytes());
        }
    });
    let fake = file("GNUSparseFile.1/name", &stored());
    vec![
        (
            "0.0",
            [
                pax(&[
                    ("GNU.sparse.size", size),
                    ("GNU.sparse.numblocks", b"2"),
                    ("GNU.sparse.offset", b"512"),
                    ("GNU.sparse.numbytes", b"512"),
                    ("GNU.sparse.offset", b"2048"),
                    ("GNU.sparse.numbytes", b"10"),
                ]),
                file("real/name", &stored()),
            ]
            .concat(),
        ),
        (
            "0.1",
            [
                pax(&[
                    ("GNU.sparse.size", size),
                    ("GNU.sparse.numblocks", b"2"),
                    name,
                    ("GNU.sparse.map", b"512,512,2048,10"),
                ]),
                fake,
            ]
            .concat(),
        ),
        (
            "1.0",
            [
                pax(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    name,
                    ("GNU.sparse.realsize", size),
                ]),
                file("GNUSparseFile.1/name", &in_front),
            ]
            .concat(),
        ),
        ("old", old),
    ]
}

#[test]
fn sparse_files_are_whole_files_in_every_form() {
    for (form, bytes) in sparse() {
        let bytes = [bytes, file("after", b"x")].concat();
        let all = all(&bytes).unwrap();
        assert_eq!(all.len(), 2, "{form}");
        let (head, content) = &all[0];
        assert_eq!((head.path.as_slice(), head.size, head.stored), (&b"real/name"[..], 4000, 522), "{form}");
        assert!(*content == holes(), "{form}");
        assert_eq!(all[1].0.path, b"after", "{form}");
        assert_eq!(head.kind.refused().is_some(), form == "old");
    }
}

/// Each block is searched once for the line's end.
#[test]
fn a_number_of_a_map_may_fill_blocks_with_zeros() {
    let mut zeros = vec![b'0'; 3000];
    zeros.extend(b"1\n0\n4\n");
    zeros.resize(zeros.len().next_multiple_of(512), 0);
    zeros.extend(b"abcd");
    let records =
        pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"4")]);
    let (head, content) = only(&[records, file("x", &zeros)].concat());
    assert_eq!((head.size, content), (4, b"abcd".to_vec()));
}

#[test]
fn a_map_may_go_on_in_further_blocks() {
    // 30 runs of one block each: four in the header, 21 in the block after it, and the rest in another one.
    let content = vec![b'x'; 30 * 512];
    let mut more = [[0; 512]; 2];
    let bytes = entry("f", b'S', &content, |block| {
        block[257..265].copy_from_slice(b"ustar  \0");
        let number = |number: usize| format!("{number:011o}\0");
        for run in 0..30 {
            let text = number(run * 1024) + &number(512);
            let (field, at) = match run {
                0..4 => (&mut *block, 386 + run * 24),
                4..25 => (&mut more[0], (run - 4) * 24),
                _ => (&mut more[1], (run - 25) * 24),
            };
            field[at..at + 24].copy_from_slice(text.as_bytes());
        }
        (block[482], more[0][504]) = (1, 1);
        block[483..494].copy_from_slice(format!("{:011o}", 30 * 1024).as_bytes());
    });
    let bytes = [&bytes[..512], more.concat().as_slice(), &bytes[512..], &file("after", b"")].concat();
    let all = all(&bytes).unwrap();
    let run: Vec<u8> = [[b'x'; 512], [0; 512]].concat();
    assert!(all[0].1 == run.repeat(30));
    assert_eq!(all[1].0.path, b"after");
    // And so may one at the beginning of the content.
    let mut map = format!("300\n{}", "0\n0\n".repeat(299)) + "7\n1\n";
    map += &"\0".repeat(map.len().next_multiple_of(512) - map.len());
    let records =
        pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")]);
    let (_, content) = only(&[records, file("f", (map + "x").as_bytes())].concat());
    assert_eq!(content, b"\0\0\0\0\0\0\0x\0");
}

#[test]
fn broken_maps_and_unknown_forms_are_faults() {
    let one = |records: &[(&str, &[u8])], content: &[u8]| all(&[pax(records), file("f", content)].concat());
    let form = one(&[("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0")], b"").unwrap_err();
    assert_eq!(form, Fault::SparseForm { form: "2.0".into() });
    let listed = |map: &'static [u8], count: &'static [u8]| {
        one(
            &[("GNU.sparse.size", b"100"), ("GNU.sparse.numblocks", count), ("GNU.sparse.map", map)],
            b"12345",
        )
    };
    assert_eq!(listed(b"10,5", b"1").unwrap()[0].1[9..16], *b"\x0012345\0");
    for (map, count) in [
        (&b"10,5"[..], &b"2"[..]),
        (b"10,5,x,1", b"2"),
        (b"10,4", b"1"),
        (b"10,6", b"1"),
        (b"98,5", b"1"),
        (b"10,3,9,2", b"2"),
        (b"18446744073709551615,5", b"1"),
        (b"10,-5", b"1"),
        (b"", b"1"),
    ] {
        let outcome = listed(map, count);
        // Without a map it is an ordinary file.
        assert!(matches!(outcome, Err(Fault::Sparse(_))) || map.is_empty(), "{map:?}: {outcome:?}");
    }
    let in_content = |content: &[u8]| {
        one(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")], content)
    };
    for content in [&b""[..], b"9", b"x\n", b"1\n0\n", b"99999999999999999999\n"] {
        let mut block = content.to_vec();
        block.resize(if content.is_empty() { 0 } else { 512 }, b'1');
        assert!(in_content(&block).is_err(), "{content:?}");
    }
    assert_eq!(in_content(b"300000\n").unwrap_err(), Fault::Sparse("it does not end"));
    let alternating = one(&[("GNU.sparse.numbytes", b"1"), ("GNU.sparse.offset", b"1")], b"");
    assert!(matches!(alternating, Err(Fault::Sparse(_))));
}

#[test]
fn records_win_over_the_header_and_count_as_they_stand_last() {
    let attribute: &[u8] = b"a\n7 =x\n\0\xff";
    let records = pax(&[
        ("path", b"first"),
        ("mtime", b"-1.5"),
        ("path", "a/ü".as_bytes()),
        ("uid", b"4294967294"),
        ("gid", b""),
        ("size", b"3"),
        ("hdrcharset", b"BINARY"),
        ("SCHILY.xattr.user.x", attribute),
        ("LIBARCHIVE.xattr.user.y", b"eQ"),
        ("SCHILY.xattr.user.empty", b""),
        ("comment", b""),
    ]);
    let header = entry("b", b'0', b"", |block| {
        block[116..123].copy_from_slice(b"0000017");
        block[124..135].copy_from_slice(b"00000000000");
    });
    let bytes = [records, header, b"abc".to_vec(), vec![0; 509], file("after", b"")].concat();
    let found = all(&bytes).unwrap();
    let (head, content) = &found[0];
    assert_eq!((head.path.as_slice(), content.as_slice()), ("a/ü".as_bytes(), &b"abc"[..]));
    assert_eq!((head.uid, head.gid), (4_294_967_294, 15));
    assert_eq!(head.mtime, Time { seconds: -2, nanoseconds: 500_000_000 });
    assert_eq!(head.attributes, [("SCHILY.xattr.user.x".to_owned(), attribute.to_vec())]);
    assert_eq!((found[1].0.path.as_slice(), found[1].0.mtime), (&b"after"[..], Time::at(7)));
}

#[test]
fn records_out_of_form_are_faults() {
    for text in
        [&b"x"[..], b"5 a=b\n", b"7 a=b\n", b"6 a=bx", b"6 abc\n", b"0 a=b\n", b"-6 a=b\n", b"6 =ab\n"]
    {
        let bytes = [entry("pax", b'x', text, |_| {}), file("f", b"")].concat();
        assert_eq!(all(&bytes), Err(Fault::Records), "{:?}", String::from_utf8_lossy(text));
    }
    for (key, value) in [("mtime", "soon"), ("mtime", "1e3"), ("uid", "0x1"), ("size", "-1"), ("mtime", ".5")]
    {
        let bytes = [pax(&[(key, value.as_bytes())]), file("f", b"")].concat();
        assert!(matches!(all(&bytes), Err(Fault::Field(_))), "{key}={value}");
    }
    assert_eq!(all(&[pax(&[("path", b"a\0b")]), file("f", b"")].concat()), Err(Fault::Records));
}

#[test]
fn global_records_change_nothing_and_long_names_win() {
    let global = entry("pax_global_header", b'g', b"15 path=global\n", |_| {});
    assert_eq!(only(&[global.clone(), file("own", b"")].concat()).0.path, b"own");
    let long = entry("././@LongLink", b'L', b"a long name\0", |_| {});
    let link = entry("././@LongLink", b'K', b"a long target\0", |_| {});
    let symlink = entry("short", b'2', b"", |block| block[157..161].copy_from_slice(b"near"));
    let records = pax(&[("path", b"of the records")]);
    let (head, _) = only(&[long.clone(), link, records, symlink].concat());
    assert_eq!((head.path.as_slice(), head.link.as_slice()), (&b"a long name"[..], &b"a long target"[..]));
    // A global header discards what was read about the next entry, as in Go's reader.
    assert_eq!(only(&[long, global, file("own", b"")].concat()).0.path, b"own");
}

#[test]
fn links_and_directories_have_no_content_whatever_they_claim() {
    for kind in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        let claims = entry("a", kind, b"", |block| block[124..135].copy_from_slice(b"00000001000"));
        let found = all(&[claims, file("b", b"x")].concat()).unwrap();
        assert_eq!((found[0].0.size, found[1].0.path.as_slice()), (0, &b"b"[..]), "{}", char::from(kind));
    }
    assert_eq!(only(&entry("a/", 0, b"", |_| {})).0.kind, Kind::Directory);
    assert_eq!(only(&entry("a/", b'0', b"", |_| {})).0.kind, Kind::File);
}

#[test]
fn names_are_read_in_every_form_of_a_header() {
    let with_prefix = |block: &mut [u8; 512]| block[345..349].copy_from_slice(b"over");
    assert_eq!(only(&entry("a", b'0', b"", with_prefix)).0.path, b"over/a");
    let gnu = |block: &mut [u8; 512]| {
        with_prefix(block);
        block[257..265].copy_from_slice(b"ustar  \0");
    };
    assert_eq!(only(&entry("a", b'0', b"", gnu)).0.path, b"a");
    let star = |block: &mut [u8; 512]| {
        with_prefix(block);
        block[345 + 131..345 + 155].fill(b'7');
        block[508..].copy_from_slice(b"tar\0");
    };
    assert_eq!(only(&entry("a", b'0', b"", star)).0.path, b"over/a");
    let v7 = |block: &mut [u8; 512]| block[257..].fill(0);
    assert_eq!(only(&entry("a", 0, b"", v7)).0.path, b"a");
}

#[test]
fn numbers_may_be_binary_and_below_zero() {
    let seconds = |seconds: i64| {
        let mut field = [0xff; 12];
        field[4..].copy_from_slice(&seconds.to_be_bytes());
        if seconds >= 0 {
            field[..4].copy_from_slice(&[0x80, 0, 0, 0]);
        }
        let bytes = entry("a", b'0', b"", |block| block[136..148].copy_from_slice(&field));
        only(&bytes).0.mtime
    };
    for time in [-86_400, -1, 0, 1, 9_000_000_000, i64::MIN, i64::MAX] {
        assert_eq!(seconds(time), Time::at(time));
    }
    assert_eq!(number(b"  017 \0"), Some(15));
    assert_eq!(number(b"\0\0\0\0"), Some(0));
    for field in [
        &b"8"[..],
        b"-1",
        b"+1",
        b"1 1",
        b"0x1",
        &[0x80, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
        b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert_eq!(number(field), None, "{field:?}");
    }
}

#[test]
fn what_is_no_archive_is_told_without_its_bytes() {
    let error = all(&[b'x'; 512]).unwrap_err();
    assert_eq!((error.to_string().as_str(), error), ("it is not a tar archive", Fault::NotTar));
    let later = [file("a", b"b"), vec![b'x'; 512]].concat();
    assert_eq!(all(&later), Err(Fault::NoHeader { at: 1024 }));
    let mut wrong = file("a", b"");
    wrong[0] = b'b';
    assert_eq!(all(&wrong), Err(Fault::NotTar));
    let bytes = entry("a", b'0', b"", |block| block[124..128].copy_from_slice(b"size"));
    assert_eq!(all(&bytes), Err(Fault::Field("size")));
    let long = entry("x", b'x', b"", |block| block[124..135].copy_from_slice(b"00077777777"));
    assert!(matches!(all(&long), Err(Fault::Long { .. })));
}

#[test]
fn an_archive_may_lack_the_padding_of_its_last_file_and_no_more() {
    let whole = file("a", &[b'x'; 700]);
    for length in [512 + 700, 512 + 1023, 512 + 1024] {
        let mut reader = Reader::new(&whole[..length]);
        let mut content = Vec::new();
        reader.next_entry().unwrap().unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(content.len(), 700);
        assert!(reader.next_entry().unwrap().is_none());
    }
    for length in [100, 511, 513, 512 + 699] {
        let mut reader = Reader::new(&whole[..length]);
        let outcome = match reader.next_entry() {
            Ok(Some(_)) => reader.next_entry().map(|entry| entry.is_some()),
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        assert_eq!(Fault::of(&outcome.unwrap_err()), Some(&Fault::Cut), "{length}");
    }
}

proptest! {
    #[test]
    fn a_time_is_written_as_it_is_read(seconds in -9_000_000_000_i64..9_000_000_000, nanoseconds in prop_oneof![Just(0), 0..1_000_000_000_u32]) {
        let time = Time { seconds, nanoseconds };
        prop_assert_eq!(Time::parse(&time.decimal()), Some(time));
    }

    #[test]
    fn any_bytes_are_read_to_an_end(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        kinds in proptest::collection::vec(prop_oneof![Just(b'x'), Just(b'g'), Just(b'S'), Just(b'L'), Just(b'0'), any::<u8>()], 0..4),
    ) {
        // With correct checksums, so that more of it is taken for a header.
        for (at, kind) in kinds.into_iter().enumerate() {
            if let Some(block) = bytes.get_mut(at * 512..at * 512 + 512) {
                let block: &mut [u8; 512] = block.try_into().unwrap();
                block[156] = kind;
                block[100..147].fill(0);
                summed(block);
            }
        }
        let mut reader = Reader::new(bytes.as_slice());
        let mut entries = 0;
        while let Ok(Some(mut entry)) = reader.next_entry() {
            entries += 1;
            prop_assert!(entries <= 4);
            let count = io::copy(&mut entry.by_ref().take(1 << 20), &mut io::sink());
            prop_assert!(count.is_err() || count.unwrap() <= entry.head.size);
        }
    }

    #[test]
    fn what_the_tar_crate_writes_is_read(path in "[a-z]{1,60}(/[a-zü]{1,60}){0,4}", content in proptest::collection::vec(any::<u8>(), 0..1500), mode in 0..0o7777_u32, mtime in 0..9_000_000_000_u64) {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_mtime(mtime);
        builder.append_data(&mut header, &path, content.as_slice()).unwrap();
        let (head, read) = only(&builder.into_inner().unwrap());
        prop_assert_eq!((head.path, read), (path.into_bytes(), content));
        prop_assert_eq!((head.mode, head.mtime), (mode, Time::at(mtime.cast_signed())));
    }
}
