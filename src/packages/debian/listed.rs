//! Parses apt's own files: sources in both of their formats (sources.list(5)) and lists of mirrors
//! (apt-transport-mirror(1)). Pure.

use deb822_fast::{Deb822, Paragraph};

/// One of apt's sources, as written in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) addresses: Vec<String>,
    pub(super) suites: Vec<String>,
    pub(super) components: Vec<String>,
    /// `Signed-By`: files, fingerprints, or an inline key.
    pub(super) signed_by: Option<String>,
}

/// The enabled sources of binary packages in a `.sources` file ("deb822-style format"). A file that cannot be parsed
/// has none: reporting that is up to apt.
pub(super) fn parse_deb822(text: &str) -> Vec<Listed> {
    let Ok(document) = text.parse::<Deb822>() else { return Vec::new() };
    document.iter().filter_map(of_stanza).collect()
}

fn of_stanza(stanza: &Paragraph) -> Option<Listed> {
    let field = |name: &str| stanza.get(name).map(ToOwned::to_owned);
    let words = |name: &str| -> Vec<String> {
        field(name).unwrap_or_default().split_whitespace().map(ToOwned::to_owned).collect()
    };
    let is_off = |value: String| {
        matches!(
            value.trim().to_ascii_lowercase().as_str(),
            "no" | "false" | "without" | "off" | "disable" | "0"
        )
    };
    let enabled = !field("Enabled").is_some_and(is_off);
    (enabled && words("Types").iter().any(|kind| kind == "deb")).then(|| Listed {
        addresses: words("URIs"),
        suites: words("Suites"),
        components: words("Components"),
        signed_by: field("Signed-By"),
    })
}

/// The sources of binary packages in a `.list` file ("one-line-style format").
pub(super) fn parse_list(text: &str) -> Vec<Listed> {
    text.lines().filter_map(of_line).collect()
}

fn of_line(line: &str) -> Option<Listed> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("signed-by")))
        .map(|(_, files)| files.replace(',', " "));
    // The name of a disc contains spaces, in brackets.
    let end = if rest.starts_with("cdrom:") { rest.find(']').map_or(0, |at| at + 1) } else { 0 };
    let (disc, rest) = rest.split_at(end);
    let mut words = rest.trim_start_matches(|c| c == '/' && end > 0).split_whitespace();
    let address = if disc.is_empty() { words.next()?.to_owned() } else { disc.to_owned() };
    let suite = words.next()?.to_owned();
    let components = words.map(ToOwned::to_owned).collect();
    Some(Listed { addresses: vec![address], suites: vec![suite], components, signed_by })
}

/// The URLs of a list of mirrors, in the order in which they are tried: those without restrictions first, sorted by
/// priority, and those without a priority last.
pub(super) fn parse_mirror_list(text: &str) -> Vec<String> {
    let mut found: Vec<(bool, u64, &str)> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?;
            let (mut limited, mut priority) = (false, u64::MAX);
            for word in words {
                match word.split_once(':') {
                    Some(("priority", number)) => priority = number.parse().unwrap_or(u64::MAX),
                    Some(_) => limited = true,
                    None => {}
                }
            }
            Some((limited, priority, address))
        })
        .collect();
    found.sort_by_key(|(limited, priority, _)| (*limited, *priority));
    found.into_iter().map(|(_, _, address)| address.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(addresses: &[&str], suites: &[&str], components: &[&str], signed_by: Option<&str>) -> Listed {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Listed {
            addresses: owned(addresses),
            suites: owned(suites),
            components: owned(components),
            signed_by: signed_by.map(Into::into),
        }
    }

    #[test]
    fn reads_deb822_sources() {
        let text = "Types: deb deb-src\nURIs: http://a.example/debian/ http://b.example/debian\n\
                    Suites: trixie trixie-updates\nComponents: main contrib\nArchitectures: amd64\nTrusted: yes\n\
                    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                    # a comment\ntypes: deb\n# another\nuris: mirror+file:///etc/apt/mirrors/debian.list\n\
                    suites:\n trixie-security\ncomponents: main\nenabled: yes\n";
        let keyring = Some("/usr/share/keyrings/debian-archive-keyring.gpg");
        assert_eq!(
            parse_deb822(text),
            [
                listed(
                    &["http://a.example/debian/", "http://b.example/debian"],
                    &["trixie", "trixie-updates"],
                    &["main", "contrib"],
                    keyring
                ),
                listed(
                    &["mirror+file:///etc/apt/mirrors/debian.list"],
                    &["trixie-security"],
                    &["main"],
                    None
                ),
            ]
        );
        for text in [
            "Types: deb\nURIs: https://a.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n",
            "Types: deb\nURIs: https://a.example/debian\nSuites: bookworm\nComponents: main\nENABLED: False\n",
            "Types: deb-src\nURIs: https://a.example/debian\nSuites: bookworm\nComponents: main\n",
            "nothing of the kind",
        ] {
            assert_eq!(parse_deb822(text), [], "{text}");
        }
    }

    #[test]
    fn reads_one_line_sources() {
        let text = "# deb http://commented.example/debian bookworm main\n\
                    deb-src http://a.example/debian bookworm main\n\
                    deb cdrom:[Debian GNU/Linux 12.1.0 _Bookworm_ - Official amd64 DVD]/ bookworm main\n\
                    deb [ arch=amd64 trusted=yes signed-by=/usr/a.gpg,/usr/b.gpg ] http://b.example/debian bookworm main # rest\n\
                    deb [arch=amd64]\thttp://c.example/debian\tbookworm main non-free\n\
                    deb [broken http://d.example/debian bookworm main\n\
                    debian http://e.example/debian bookworm main\n\
                    deb http://f.example/debian ./\n";
        let disc = "cdrom:[Debian GNU/Linux 12.1.0 _Bookworm_ - Official amd64 DVD]";
        assert_eq!(
            parse_list(text),
            [
                listed(&[disc], &["bookworm"], &["main"], None),
                listed(&["http://b.example/debian"], &["bookworm"], &["main"], Some("/usr/a.gpg /usr/b.gpg")),
                listed(&["http://c.example/debian"], &["bookworm"], &["main", "non-free"], None),
                listed(&["http://f.example/debian"], &["./"], &[], None),
            ]
        );
    }

    #[test]
    fn a_list_of_mirrors_has_priorities_and_limits() {
        let text = "# a comment\n\nhttp://last.example/debian/\n\
                    http://second.example/debian\tpriority:2\n\
                    http://partial.example/debian\tpriority:1 arch:amd64 arch:all\n\
                    http://first.example/debian\tpriority:1\n";
        assert_eq!(
            parse_mirror_list(text),
            [
                "http://first.example/debian",
                "http://second.example/debian",
                "http://last.example/debian/",
                "http://partial.example/debian",
            ]
        );
    }
}
