//! The parts of cases: userlands, programs, and a builder of images from both.

use std::collections::BTreeMap;

use super::image::{Image, Item, merged_usr};
use super::packages::Userland;
use super::programs::{Port, Programs};

/// Debian's programs in the corpus: the package, and a command that succeeds wherever it can start.
pub(super) const BOOKWORM: [(&str, &[&str]); 16] = [
    ("bash", &["bash", "-c", ":"]),
    ("busybox", &["busybox", "true"]),
    ("coreutils", &["ls", "/"]),
    ("curl", &["curl", "--version"]),
    ("dash", &["/bin/sh", "-c", ":"]),
    ("file", &["file", "--version"]),
    ("grep", &["grep", "--version"]),
    ("jq", &["/usr/bin/jq", "--version"]),
    ("libc-bin", &["/sbin/ldconfig", "--version"]),
    ("lua5.4", &["lua5.4", "-v"]),
    ("openssl", &["openssl", "version"]),
    ("perl-base", &["/usr/bin/perl", "-e", "exit 0"]),
    ("rsync", &["rsync", "--version"]),
    ("sqlite3", &["sqlite3", "--version"]),
    ("tini", &["tini", "--version"]),
    ("xz-utils", &["xz", "--version"]),
];
pub(super) const TRIXIE: [(&str, &[&str]); 10] = [
    ("bash", &["bash", "-c", ":"]),
    ("coreutils", &["ls", "/"]),
    ("curl", &["curl", "--version"]),
    ("dash", &["/bin/sh", "-c", ":"]),
    ("file", &["file", "--version"]),
    ("jq", &["/usr/bin/jq", "--version"]),
    ("openssl", &["openssl", "version"]),
    ("perl-base", &["/usr/bin/perl", "-e", "exit 0"]),
    ("sqlite3", &["sqlite3", "--version"]),
    ("xz-utils", &["xz", "--version"]),
];
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image of the corpus, and how to run the real loader on it.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    /// What the case is about.
    pub(super) about: &'static str,
    /// Its layers are those of packages.
    pub(super) image: Image,
    /// The layers on top of them.
    pub(super) top: Vec<Vec<Item>>,
    /// The processor to emulate; `None` for the machine's own, or the emulator's best.
    pub(super) cpu: Option<&'static str>,
    /// Whether the image has an `ld.so.cache`, made by its own `ldconfig`.
    pub(super) ldconfig: bool,
    /// A layer above the cache.
    pub(super) late: Vec<Item>,
    /// The expected warnings, if the case is about them.
    pub(super) warnings: Option<&'static [&'static str]>,
}

impl Case {
    /// A layer on top of all others.
    pub(super) fn layer(mut self, items: impl IntoIterator<Item = Item>) -> Self {
        self.top.push(items.into_iter().collect());
        self
    }

    pub(super) fn env(mut self, entry: &str) -> Self {
        self.image.env.retain(|old| old.split('=').next() != entry.split('=').next());
        self.image.env.push(entry.to_owned());
        self
    }

    pub(super) fn user(mut self, user: &'static str) -> Self {
        self.image.user = Some(user);
        self
    }

    pub(super) fn cpu(mut self, platform: &'static str, cpu: &'static str) -> Self {
        self.image.platform = platform;
        self.cpu = Some(cpu);
        self
    }

    pub(super) fn workdir(mut self, workdir: &'static str) -> Self {
        self.image.workdir = Some(workdir);
        self
    }

    pub(super) fn warns(mut self, kinds: &'static [&'static str]) -> Self {
        self.warnings = Some(kinds);
        self
    }

    pub(super) fn ldconfig(mut self) -> Self {
        self.ldconfig = true;
        self
    }

    pub(super) fn late(mut self, items: impl IntoIterator<Item = Item>) -> Self {
        self.late.extend(items);
        self
    }

    /// The same with other packages.
    pub(super) fn packages(mut self, world: &World, port: &Port, packages: &[&str]) -> Self {
        self.image.layers = world.userland("bookworm", port).layers(packages, true);
        self
    }

    pub(super) fn line(mut self, line: &[&str]) -> Self {
        self.image.entrypoint = line.iter().map(|word| (*word).to_owned()).collect();
        self
    }
}

/// Everything that cases are made from.
pub(super) struct World {
    userlands: BTreeMap<(&'static str, &'static str), Userland>,
    pub(super) programs: Programs,
}

impl World {
    pub(super) fn new() -> Self {
        let mut userlands = BTreeMap::new();
        for architecture in ["amd64", "arm64", "armhf"] {
            let names: Vec<&str> = BOOKWORM.iter().map(|(name, _)| *name).chain(["libc6", "musl"]).collect();
            userlands.insert(("bookworm", architecture), Userland::get("bookworm", architecture, &names));
        }
        for architecture in ["amd64", "arm64"] {
            let names: Vec<&str> = TRIXIE.iter().map(|(name, _)| *name).chain(["libc6"]).collect();
            userlands.insert(("trixie", architecture), Userland::get("trixie", architecture, &names));
        }
        Self { userlands, programs: Programs::new() }
    }

    pub(super) fn userland(&self, suite: &'static str, port: &Port) -> &Userland {
        &self.userlands[&(suite, port.debian)]
    }

    /// An image of packages and all their dependencies, with a merged `/usr`.
    pub(super) fn image(
        &self,
        (suite, port): (&'static str, &Port),
        name: &str,
        about: &'static str,
        packages: &[&str],
        line: &[&str],
    ) -> Case {
        let mut case = Self::empty((suite, port), name, about, line);
        case.image.layers = self.userland(suite, port).layers(packages, true);
        case.layer(merged_usr())
    }

    /// The same, with every file at the package's own path.
    pub(super) fn split(
        &self,
        (suite, port): (&'static str, &Port),
        name: &str,
        about: &'static str,
        packages: &[&str],
        line: &[&str],
    ) -> Case {
        let mut case = Self::empty((suite, port), name, about, line);
        case.image.layers = self.userland(suite, port).layers(packages, false);
        case
    }

    /// An empty image.
    pub(super) fn empty(
        (suite, port): (&str, &Port),
        name: &str,
        about: &'static str,
        line: &[&str],
    ) -> Case {
        Case {
            name: format!("{suite} {} {name}", port.debian),
            about,
            image: Image {
                platform: port.platform,
                layers: Vec::new(),
                entrypoint: line.iter().map(|word| (*word).to_owned()).collect(),
                env: vec![PATH.to_owned()],
                user: None,
                workdir: None,
            },
            top: Vec::new(),
            cpu: None,
            ldconfig: false,
            late: Vec::new(),
            warnings: None,
        }
    }
}
