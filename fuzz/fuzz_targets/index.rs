//! Debian's package indexes and the relations in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xbuild::internal::packages::debian::index::Universe;
use xbuild::internal::packages::debian::relation::parse_groups;
use xbuild::Cancel;

fuzz_target!(|bytes: &[u8]| {
    let mut universe = Universe::default();
    if universe.read("http://mirror.example/debian", bytes, &Cancel::new()).is_ok() && !universe.is_empty() {
        for name in ["libc6", "a", "awk"] {
            if let Some((record, _)) = universe.candidate(name) {
                assert_eq!(universe.place(record).0, "http://mirror.example/debian");
                parse_groups(&record.depends).ok();
                parse_groups(&record.provides).ok();
            }
            universe.providers(name);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        parse_groups(text).ok();
    }
});
