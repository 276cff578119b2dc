//! Describes what the script of a package would do. It is not run, as no maintainer script ever is. Pure, over its
//! text.
//!
//! Most packages have no script, or one that does nothing for an image: it notifies a running system of an upgrade,
//! starts services, or refreshes the loader's cache, without which the loader searches exactly the directories in which
//! packages put their libraries. Other effects are detected by the programs that a script calls. The script is never
//! interpreted, so this is only advice, and is worded as such.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Sections written by debhelper that do nothing for an image, by the beginning of the name of the tool that wrote
/// them.
const HARMLESS: [&str; 9] = [
    "dh_icons",
    "dh_installdeb",
    "dh_installinit",
    "dh_installmenu",
    "dh_installsystemd",
    "dh_installtmpfiles",
    "dh_makeshlibs",
    "dh_pycompile",
    "dh_python3",
];

/// The effects of programs that a script may call, and these programs.
const EFFECTS: [(&str, &[&str]); 4] = [
    ("make users or groups", &["addgroup", "adduser", "groupadd", "systemd-sysusers", "useradd"]),
    ("register alternatives", &["update-alternatives"]),
    ("change owners, modes or capabilities", &["chgrp", "chmod", "chown", "dpkg-statoverride", "setcap"]),
    (
        "make files that its programs read",
        &[
            "debconf-set-selections",
            "fc-cache",
            "gdk-pixbuf-query-loaders",
            "gio-querymodules",
            "glib-compile-schemas",
            "locale-gen",
            "ucf",
            "update-ca-certificates",
            "update-mime-database",
        ],
    ),
];

/// A package whose script is not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unrun {
    /// The package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// What the script would do that the image may lack, with the programs that it calls: `make users or groups
    /// (adduser)`. Empty if it is not known to do anything that matters.
    pub effects: Vec<String>,
}

impl fmt::Display for Unrun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, version, effects } = self;
        if effects.is_empty() {
            return write!(
                formatter,
                "the script of {package} {version} is not run; nothing in it is known to matter"
            );
        }
        write!(
            formatter,
            "the script of {package} {version} is not run, which would {}; if the programs need that, add it \
             with [[files]], or use a base image in which {package} is installed",
            effects.join(", and ")
        )
    }
}

/// What to report about a package's `postinst`; `None` if it does nothing at all.
#[must_use]
pub(crate) fn unrun((package, version): (&str, &str), postinst: &str) -> Option<Unrun> {
    let commands = commands(postinst);
    let nothing = |line: &String| {
        line.is_empty() || line.starts_with("set -") || line.starts_with("exit") || line == "ldconfig"
    };
    if commands.iter().all(nothing) {
        return None;
    }
    let effects = EFFECTS.iter().filter_map(|(effect, programs)| {
        let called: Vec<&str> = programs
            .iter()
            .filter(|program| commands.iter().any(|line| calls(line, program)))
            .copied()
            .collect();
        (!called.is_empty()).then(|| format!("{effect} ({})", called.join(", ")))
    });
    let (package, version) = (package.to_owned(), version.to_owned());
    Some(Unrun { package, version, effects: effects.collect() })
}

/// The lines of a script without comments and without debhelper's sections for running systems; continued lines are
/// joined.
fn commands(script: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut skipping = false;
    for line in script.replace("\\\n", " ").lines() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            let comment = comment.trim_start();
            if let Some(author) = comment.strip_prefix("Automatically added by ") {
                skipping = HARMLESS.iter().any(|harmless| author.starts_with(harmless))
                    // It creates the users of sysusers.d.
                    && !author.starts_with("dh_installsysusers");
            } else if comment.starts_with("End automatically added section") {
                skipping = false;
            }
        } else if !skipping {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// True if a line calls a program, by its name or by its path.
fn calls(line: &str, program: &str) -> bool {
    let mut words =
        line.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | ')' | '`' | ';'));
    if !words.any(|word| word.rsplit('/').next() == Some(program)) {
        return false;
    }
    match program {
        // Manual pages are left out anyway, and what is removed was never there.
        "update-alternatives" => line
            .split_once("--install")
            .is_some_and(|(_, rest)| !rest.trim_start().starts_with("/usr/share/man/")),
        "dpkg-statoverride" => line.contains("--add"),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(script: &str) -> Option<Vec<String>> {
        unrun(("a", "1"), script).map(|unrun| unrun.effects)
    }

    #[test]
    fn what_does_nothing_in_an_image_is_not_told() {
        for script in [
            "#!/bin/sh\nset -e\n\nexit 0\n",
            "#!/bin/sh\nset -e\n# Automatically added by dh_installdeb/13\ndpkg-maintscript-helper rm_conffile /x\n\
             # End automatically added section\n",
            "#!/bin/sh\n# Automatically added by dh_makeshlibs/9\nif [ \"$1\" = configure ]; then\n\tldconfig\nfi\n\
             # End automatically added section\n",
        ] {
            assert_eq!(effects(script), None, "{script}");
        }
    }

    #[test]
    fn what_programs_would_miss_is_told_with_the_programs_that_make_it() {
        for (script, expected) in [
            ("adduser --system x\n", &["make users or groups (adduser)"][..]),
            ("if ! getent x; then /usr/sbin/addgroup x; fi", &["make users or groups (addgroup)"]),
            (
                "update-alternatives --quiet --install /usr/bin/pager pager \\\n /usr/bin/less 77",
                &["register alternatives (update-alternatives)"],
            ),
            ("update-alternatives --install \\\n /usr/share/man/man7/b.7.gz b.7.gz x 10", &[]),
            ("update-alternatives --remove rcp /usr/bin/scp", &[]),
            ("if ! dpkg-statoverride --list /x; then :; fi", &[]),
            (
                "P=$(which setcap)\nsetcap cap_net_raw+ep /bin/ping\nchmod u+s /bin/ping",
                &["change owners, modes or capabilities (chmod, setcap)"],
            ),
            (
                "\"/usr/lib/x/glib-2.0/glib-compile-schemas\" /usr/share/glib-2.0/schemas || true",
                &["make files that its programs read (glib-compile-schemas)"],
            ),
            ("# adduser x\necho hello", &[]),
            (
                "# Automatically added by dh_installsysusers/13\nsystemd-sysusers x.conf\n# End automatically added section",
                &["make users or groups (systemd-sysusers)"],
            ),
        ] {
            assert_eq!(effects(script).expect("it does something"), expected, "{script}");
        }
    }

    #[test]
    fn a_person_is_told_what_to_do_about_it() {
        let text = unrun(("ping", "3"), "setcap x /bin/ping").unwrap().to_string();
        assert!(text.starts_with("the script of ping 3 is not run, which would change owners"), "{text}");
        assert!(text.contains("[[files]]") && text.contains("in which ping is installed"), "{text}");
    }
}
