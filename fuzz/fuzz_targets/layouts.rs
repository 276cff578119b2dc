//! Which image of a layout is meant, where indexes lead to indexes. The input is documents with a mark between them, the first of
//! which has a layout's entries; a digest's last digits are the number of the document that it means, so that documents
//! can lead to themselves, which no true digest can.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use xbuild::internal::layout::choose::{Choice, Selector, choose, images, ways};
use xbuild::oci::{Descriptor, Digest};

const MARK: &[u8] = b"--next document--";
/// Each document is read this many times at most to answer one question: once for each depth, for what it is about, for its
/// platform, and as a configuration.
const MOST_READS: usize = 16;

fn split(mut bytes: &[u8]) -> Vec<Value> {
    let mut documents = Vec::new();
    while documents.len() < 64 {
        let at = bytes.windows(MARK.len()).position(|window| window == MARK);
        let document = &bytes[..at.unwrap_or(bytes.len())];
        documents.push(serde_json::from_slice(document).unwrap_or_default());
        let Some(at) = at else { break };
        bytes = &bytes[at + MARK.len()..];
    }
    documents
}

fuzz_target!(|bytes: &[u8]| {
    let documents = split(bytes);
    let entries = documents.first().map(|index| index["manifests"].clone());
    let Some(Ok(entries)) = entries.map(serde_json::from_value::<Vec<Descriptor>>) else { return };
    let place = |digest: &Digest| {
        let hex = digest.hex();
        usize::from_str_radix(&hex[hex.len() - 2..], 16).unwrap_or_default()
    };
    // Several digests may mean one document: what counts is how often one digest is asked for.
    let mut reads = std::collections::BTreeMap::<Digest, usize>::new();
    let mut ask = |selector: &Selector| {
        reads.clear();
        let choice = choose(&entries, selector, &mut |wanted: &Descriptor| {
            *reads.entry(wanted.digest.clone()).or_default() += 1;
            documents.get(place(&wanted.digest)).cloned()
        });
        let most = reads.values().max().copied().unwrap_or_default();
        assert!(most <= MOST_READS, "{most} reads of one document");
        choice
    };
    let known = |entry: &Descriptor| entries.iter().any(|known| known.digest == entry.digest);
    for selector in [Selector::Only, Selector::Name("1.0".into())] {
        match ask(&selector) {
            Choice::Entry(entry) => assert!(known(&entry)),
            Choice::Platforms(list) | Choice::Several(list) => assert!(list.len() > 1 && list.iter().all(known)),
            Choice::Nothing => {}
        }
    }
    let wanted = entries.last().map_or_else(|| Digest::of(b""), |entry| entry.digest.clone());
    assert_eq!(matches!(ask(&Selector::Digest(wanted)), Choice::Nothing), entries.is_empty());
    ask(&Selector::Digest(Digest::of(b"nothing leads here")));
    let read = &mut |wanted: &Descriptor| documents.get(place(&wanted.digest)).cloned();
    let ways = ways(&entries, &entries, read);
    assert!(ways.len() <= entries.len());
    images(&entries, read);
});
