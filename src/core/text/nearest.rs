//! "Did you mean": the nearest of the known words, if it is near enough to be helpful.

/// The word of `known` that is most likely meant by the mistyped `given`; `None` if none is near.
///
/// Case, `_` and `-` are ignored. Otherwise a third of the longer word's letters may differ, and a transposition counts
/// once.
#[must_use]
pub fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('_', "-");
    let given = plain(given);
    known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(&given, &plain(word)), *word))
        .filter(|(distance, word)| *distance * 3 <= word.len().max(given.len()).max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["platforms", "base", "stop-signal", "linux/amd64", "linux/arm64"];
        for (given, meant) in [
            ("platfroms", Some("platforms")),
            ("platform", Some("platforms")),
            ("stop_signal", Some("stop-signal")),
            ("BASE", Some("base")),
            ("linux/amd46", Some("linux/amd64")),
            ("linux/arm46", Some("linux/arm64")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, &known), meant, "{given}");
        }
    }
}
