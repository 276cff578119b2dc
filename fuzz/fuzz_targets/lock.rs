//! xbuild.lock.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xbuild::error::{ExitCode, Explain};
use xbuild::internal::lock::{LockError, compare, text};

fuzz_target!(|input: &str| {
    match text::parse("xbuild.lock", input) {
        Ok(lock) => {
            // What was read is written in the one text that it has, and read again as the same.
            let rendered = text::render(&lock);
            let again = text::parse("xbuild.lock", &rendered).expect("what we write, we read");
            assert_eq!(again, lock);
            assert_eq!(text::render(&again), rendered);
            assert!(compare::compare(&lock, &again).is_empty());
            for pin in &lock.assembled {
                let set = pin.set();
                assert_eq!(set.packages.len(), pin.package.len());
                std::hint::black_box(set.plain().identity());
                // It becomes a part of addresses.
                for package in &set.packages {
                    assert!(package.path.split('/').all(|part| !matches!(part, "" | "." | "..")));
                }
            }
        }
        Err(error) => {
            assert!(matches!(error.exit_code(), ExitCode::LockFile), "{error}");
            assert!(error.hint().is_some() && !error.to_string().is_empty());
            // What a person sees: the places are within the text.
            for snippet in error.snippets() {
                assert!(snippet.text.get(snippet.span).is_some());
            }
            if let LockError::Conflict { line, .. } = error {
                assert!(input.lines().nth(line - 1).is_some());
            }
        }
    }
});
