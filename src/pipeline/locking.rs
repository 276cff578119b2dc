//! The lock of a project: read before a build, completed by it, written by `xbuild lock`.
//!
//! A build does not create a lock, since an image needs no file in the project. If there is one, a build follows it and adds
//! what it lacks. It removes nothing, since another platform or package may need it. `xbuild lock` makes the lock what the
//! project needs now, no more and no less.

use std::path::{Path, PathBuf};

use super::BuildError;
use crate::event::{Event, Level, Reporter};
use crate::host::Host;
use crate::lock::{
    AdditionsPin, CompilerPin, Difference, Lock, LockError, Pin, Pins, RustPin, SYSROOT, SysrootPin,
    ToolchainPin, base_name, compare, text,
};
use crate::packages;
use crate::pipeline::probe::{self, Probe, Probed};
use crate::settings::Settings;
use crate::sys::cancel::Cancel;
use crate::sys::env::Environment;
use crate::sys::fs;
use crate::target::platform::Platform;
use crate::toolchain::{compiler, provided};

/// What `xbuild lock` chooses again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Only what is not pinned.
    Nothing,
    /// What has these names: bases, `rust`, `zig`, `clang`, `sysroot`.
    Named(Vec<String>),
    /// Everything. A lock that cannot be read is replaced.
    Everything,
}

/// What [`lock`] has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// The lock.
    pub path: PathBuf,
    /// What has changed in it, sorted.
    pub differences: Vec<Difference>,
}

/// The lock as it was found, and the part of it that a run needs.
pub(super) struct Locking {
    path: PathBuf,
    shown: String,
    /// `None` if there is none.
    lock: Option<Lock>,
    pins: Pins,
    strict: bool,
}

/// Parses a lock. If a link points to a file outside the project, an error does not show its text.
fn parse(path: &Path, shown: &str, text: &str) -> Result<Lock, LockError> {
    text::parse(shown, text).map_err(|error| if fs::leads_out(path) { error.without_text() } else { error })
}

impl Locking {
    /// Reads the lock, if there is one. Without one nothing is pinned, and `--locked` is an error, as it is for cargo.
    pub(super) fn open(settings: &Settings) -> Result<Self, LockError> {
        let (path, strict) = (&settings.lock.path, settings.lock.locked);
        let shown = shown(path);
        let lock = match read(path)? {
            Some(text) => Some(parse(path, &shown, &text)?),
            None => None,
        };
        if lock.is_none() && strict {
            return Err(LockError::Missing { path: shown });
        }
        let pins = match &lock {
            Some(lock) => Pins::of(lock, &settings.platforms, dir(path), strict),
            None => Pins::default(),
        };
        Ok(Self { path: path.clone(), shown, lock, pins, strict })
    }

    /// What is pinned.
    pub(super) fn pins(&self) -> &Pins {
        &self.pins
    }

    /// With `--locked`, an error that lists everything that differs from what is pinned. Without it, a warning if the project
    /// uses another Rust, which xbuild does not choose.
    pub(super) fn check(&self, probe: &Probe<'_>, reporter: &dyn Reporter) -> Result<(), LockError> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let mut differences = toolchains(lock, probe);
        if self.strict {
            differences.extend(self.pins.unmet.iter().cloned());
            differences.sort();
            return refuse(&self.shown, differences);
        }
        for difference in &differences {
            // A provided toolchain that is not the pinned one is never used.
            if let Difference::Toolchain { name: name @ ("rust" | compiler::NAME), from: Some(_), .. } =
                difference
            {
                note(
                    reporter,
                    Level::Warning,
                    format!(
                        "`{}` pins another toolchain, so the image may differ from others that are built from it: \
                         {difference} (`xbuild lock --update {name}` pins what is here)",
                        self.shown
                    ),
                );
            }
        }
        Ok(())
    }

    /// Adds what an existing lock lacks, if all bases could be resolved.
    pub(super) fn complete(
        &self,
        settings: &Settings,
        probe: &Probe<'_>,
        reporter: &dyn Reporter,
    ) -> Result<(), LockError> {
        let Some(lock) = self.lock.as_ref().filter(|_| !self.strict) else { return Ok(()) };
        if probe.platforms.iter().any(|platform| platform.failure().is_some()) {
            return Ok(());
        }
        let mut completed = lock.clone();
        let (pins, sysroots) = (pins(settings, &self.pins, probe), sysroot_pins(probe));
        refuse_older(&self.shown, lock, (&pins, &sysroots), settings)?;
        for pin in pins {
            completed = completed.with(pin);
        }
        for pin in sysroots {
            completed = completed.with_sysroot(pin);
        }
        completed.rust.get_or_insert_with(|| rust(probe));
        completed.compiler = completed.compiler.or_else(|| compiler_pin(probe));
        completed.provided = with_files(completed.provided, provided_pin(probe));
        let differences = compare::compare(lock, &completed);
        if !differences.is_empty() {
            write(&self.path, &completed)?;
            report_changes(reporter, &format!("`{}` was completed", self.shown), &differences);
        }
        Ok(())
    }
}

/// Writes the lock of a project. What it pins already stays as it is, except for what `update` names.
///
/// With [`LockSettings::locked`](crate::settings::LockSettings::locked) nothing is written, and a change is an error.
///
/// # Errors
///
/// If the lock cannot be read or written, if the project or a base cannot be read, if `update` has an unknown name, or if
/// the work is cancelled or takes longer than the settings allow.
pub fn lock(
    settings: &Settings,
    environment: &Environment,
    update: &Update,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<Locked, BuildError> {
    let client = &packages::client(environment, settings.machine.offline);
    let cancel = &cancel.within(settings.timeout, "locking");
    let host = Host { environment, cache: &settings.machine.cache, client, cancel, reporter };
    let (path, shown) = (&settings.lock.path, shown(&settings.lock.path));
    let (text, old) = read_old(settings, update, reporter)?;
    let kept = match update {
        Update::Nothing => old.clone(),
        Update::Everything => Lock::default(),
        Update::Named(names) => {
            names.iter().try_for_each(|name| check_name(name, &old, settings))?;
            names.iter().fold(old.clone(), |lock, name| lock.without(name))
        }
    };
    let pins_kept = Pins::of(&kept, &settings.platforms, dir(path), false);
    let probe = probe::gather(settings, &pins_kept, host)?;
    report_unresolved(&probe, reporter)?;
    let pins = pins(settings, &pins_kept, &probe);
    let sysroots = sysroot_pins(&probe);
    refuse_older(&shown, &old, (&pins, &sysroots), settings)?;
    let mut new = pins.into_iter().fold(Lock::default(), Lock::with);
    new = sysroots.into_iter().fold(new, Lock::with_sysroot);
    new.rust = Some(kept.rust.clone().unwrap_or_else(|| rust(&probe)));
    new.compiler = compiler_pin(&probe).map(|found| kept.compiler.clone().unwrap_or(found));
    new.provided = provided_pin(&probe).and_then(|found| with_files(kept.provided.clone(), Some(found)));
    keep_unchanged(&old, &mut new, settings);
    let differences = compare::compare(&old, &new);
    if settings.lock.locked {
        // A build with --locked refuses these, too.
        let mut differences = differences.clone();
        differences.extend(toolchains(&new, &probe));
        differences.sort();
        differences.dedup();
        refuse(&shown, differences)?;
        return Ok(Locked { path: path.clone(), differences: Vec::new() });
    }
    if text.as_deref() != Some(&text::render(&new)) {
        write(path, &new)?;
    }
    let what = match (&text, differences.is_empty()) {
        (None, _) => format!("`{shown}` is new"),
        (Some(_), true) => format!("`{shown}` is up to date"),
        (Some(_), false) => format!("`{shown}` has changed"),
    };
    report_changes(reporter, &what, &differences);
    Ok(Locked { path: path.clone(), differences })
}

/// The text of the existing lock, if there is one, and what it pins.
fn read_old(
    settings: &Settings,
    update: &Update,
    reporter: &dyn Reporter,
) -> Result<(Option<String>, Lock), LockError> {
    let (path, shown) = (&settings.lock.path, shown(&settings.lock.path));
    let text = match (read(path), update) {
        // It is replaced, as one that cannot be parsed. Only a file is overwritten.
        (Err(error @ LockError::Damaged { .. }), Update::Everything) if path.is_file() => {
            note(reporter, Level::Warning, format!("{error}; it is made anew"));
            Some(String::from("version = 1\n"))
        }
        (text, _) => text?,
    };
    if text.is_none() && settings.lock.locked {
        return Err(LockError::Missing { path: shown });
    }
    let parsed = text.as_deref().map(|text| parse(path, &shown, text)).transpose();
    let old = match (parsed, update) {
        (Ok(lock), _) => lock.unwrap_or_default(),
        (Err(error @ LockError::Io(_)), _) | (Err(error), Update::Nothing | Update::Named(_)) => {
            return Err(error);
        }
        (Err(error), Update::Everything) => {
            note(reporter, Level::Warning, format!("{error}; it is made anew"));
            Lock::default()
        }
    };
    Ok((text, old))
}

/// Keeps the entries of packages that have not changed, so that a diff of the lock shows only what has. The older signed
/// indexes of these entries prove the packages as well. A snapshot that was asked for is written as asked.
fn keep_unchanged(old: &Lock, new: &mut Lock, settings: &Settings) {
    let asked = |platform: &Platform| asks_for_a_snapshot(settings, platform);
    for pin in new.assembled.iter_mut().filter(|pin| !asked(&pin.platform)) {
        if let Some(known) = old.assembled(&pin.base, &pin.platform) {
            let same = crate::lock::AssembledPin {
                index: known.index.clone(),
                snapshot: known.snapshot.clone(),
                ..pin.clone()
            };
            if same == *known {
                *pin = same;
            }
        }
    }
    for pin in new.sysroot.iter_mut().filter(|pin| !asked(&pin.platform)) {
        let Some(known) = old.sysroot.iter().find(|known| known.platform == pin.platform) else { continue };
        keep_releases(&known.packages, &mut pin.packages);
    }
    for pin in new.image.iter_mut().filter(|pin| !asked(&pin.platform)) {
        let Some(known) = old.image(&pin.base, &pin.platform).and_then(|known| known.additions.as_ref())
        else {
            continue;
        };
        if let Some(additions) = &mut pin.additions {
            keep_releases(known, additions);
        }
    }
}

/// Keeps the releases and the moment of packages that have not changed.
fn keep_releases(known: &AdditionsPin, new: &mut AdditionsPin) {
    let same = AdditionsPin { index: known.index.clone(), snapshot: known.snapshot.clone(), ..new.clone() };
    if same == *known {
        *new = same;
    }
}

/// An error if something would be pinned from an older release than is pinned already, unless a snapshot is asked for. Only
/// entries that change are compared.
fn refuse_older(
    shown: &str,
    lock: &Lock,
    (pins, sysroots): (&[Pin], &[SysrootPin]),
    settings: &Settings,
) -> Result<(), LockError> {
    let is_new = |pin: &&Pin| {
        let (base, platform) = pin.key();
        match pin {
            Pin::Assembled(pin) => lock.assembled(base, platform) != Some(&**pin),
            Pin::Image(pin) => lock.image(base, platform) != Some(&**pin),
        }
    };
    let chosen: Vec<Pin> = pins.iter().filter(is_new).cloned().collect();
    let sysroots: Vec<SysrootPin> =
        sysroots.iter().filter(|pin| !lock.sysroot.contains(pin)).cloned().collect();
    let differences =
        compare::older(lock, (&chosen, &sysroots), &|platform| asks_for_a_snapshot(settings, platform));
    if differences.is_empty() {
        return Ok(());
    }
    Err(LockError::Older { path: shown.to_owned(), differences })
}

/// Whether a platform's packages come from a snapshot of a given time.
fn asks_for_a_snapshot(settings: &Settings, platform: &Platform) -> bool {
    let mut platforms = settings.platforms.iter();
    platforms.any(|wanted| wanted.platform == *platform && wanted.sources.snapshot.is_some())
}

/// An error if something differs.
fn refuse(shown: &str, differences: Vec<Difference>) -> Result<(), LockError> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(LockError::Differs { path: shown.to_owned(), differences })
}

/// Reports every base that could not be resolved. An error if there is one.
fn report_unresolved(probe: &Probe<'_>, reporter: &dyn Reporter) -> Result<(), BuildError> {
    let (mut failed, mut code) = (0, None);
    for platform in &probe.platforms {
        if let Some(error) = platform.failure() {
            reporter.report(Event::failed(Some(platform.facts.wanted.platform.clone()), error));
            failed += 1;
            code.get_or_insert(error.exit_code());
        }
    }
    let all = probe.platforms.len();
    code.map_or(Ok(()), |code| Err(BuildError::NotLocked { failed, all, code }))
}

/// The entries of all bases of a run: the pinned ones unchanged, the others as they were resolved.
fn pins(settings: &Settings, known: &Pins, probe: &Probe<'_>) -> Vec<Pin> {
    let dir = dir(&settings.lock.path);
    let found = probe.platforms.iter().filter_map(|Probed { facts, base: resolved, .. }| {
        let wanted = facts.wanted;
        if let Some(pin) = known.bases.get(&wanted.platform)
            && Pins::is_complete(pin, wanted)
        {
            return Some(pin.clone());
        }
        let base = base_name(&wanted.base.value, dir)?;
        resolved.as_ref().ok()?.pin(&base, wanted)
    });
    found.collect()
}

/// The sysroots of a run.
fn sysroot_pins(probe: &Probe<'_>) -> Vec<SysrootPin> {
    let pin = |Probed { facts, sysroot, .. }: &Probed<'_>| {
        let resolved = sysroot.as_ref()?.as_ref().ok()?;
        Some(resolved.pin(facts.wanted))
    };
    probe.platforms.iter().filter_map(pin).collect()
}

/// The toolchains that are not pinned, or differ from what is pinned.
fn toolchains(lock: &Lock, probe: &Probe<'_>) -> Vec<Difference> {
    let (rust, provided, compiler) = (Some(rust(probe)), provided_pin(probe), compiler_pin(probe));
    let now = Lock { rust, provided, compiler, ..Lock::default() };
    let mut pinned = Lock { rust: lock.rust.clone(), provided: lock.provided.clone(), ..Lock::default() };
    // What it is pinned for may not be built now.
    pinned.compiler = lock.compiler.clone().filter(|_| now.compiler.is_some());
    match (&now.provided, &mut pinned.provided) {
        // The platforms that it is pinned for are not built now.
        (None, pin) => *pin = None,
        // An older lock does not have the digest of its files, and that of one outside the cache is not known.
        (Some(found), Some(pin)) if pin.files.is_none() || found.files.is_none() => {
            pin.files.clone_from(&found.files);
        }
        _ => {}
    }
    compare::compare(&pinned, &now)
}

fn rust(probe: &Probe<'_>) -> RustPin {
    RustPin { version: probe.rust.version.clone(), commit: probe.rust.commit.clone() }
}

/// The compiler of this machine, if it compiles C code for any platform.
fn compiler_pin(probe: &Probe<'_>) -> Option<CompilerPin> {
    let mut platforms = probe.platforms.iter();
    let is_used = platforms.any(|platform| platform.facts.linker().compiler.is_some());
    let found = probe.compiler.as_ref().filter(|_| is_used)?;
    Some(CompilerPin { version: found.version.clone() })
}

/// The toolchain that xbuild finds or provides, if it links for any platform.
fn provided_pin(probe: &Probe<'_>) -> Option<ToolchainPin> {
    let facts = &probe.facts.provided;
    probe.platforms.iter().any(|platform| platform.facts.linker().linker.is_provided()).then(|| {
        ToolchainPin { version: facts.version.clone(), package: facts.package(), files: facts.files.clone() }
    })
}

/// The pinned toolchain, else the one that was found. A pin of an older format gets the digest of that version's files.
fn with_files(pinned: Option<ToolchainPin>, found: Option<ToolchainPin>) -> Option<ToolchainPin> {
    let Some(mut pinned) = pinned else { return found };
    if pinned.files.is_none()
        && let Some(found) = found.filter(|found| found.version == pinned.version)
    {
        pinned.files = found.files;
    }
    Some(pinned)
}

/// An error if nothing has the name that is pinned or that this project uses.
fn check_name(name: &str, lock: &Lock, settings: &Settings) -> Result<(), LockError> {
    let dir = dir(&settings.lock.path);
    let used = settings.platforms.iter().filter_map(|wanted| base_name(&wanted.base.value, dir));
    let mut known: Vec<String> = lock.bases().into_iter().map(ToOwned::to_owned).chain(used).collect();
    known.extend(["rust".to_owned(), provided::NAME.to_owned()]);
    known.extend(lock.compiler.as_ref().map(|_| compiler::NAME.to_owned()));
    let mut platforms = settings.platforms.iter();
    if !lock.sysroot.is_empty() || platforms.any(|wanted| wanted.toolchain.value.may_need_sysroot()) {
        known.push(SYSROOT.to_owned());
    }
    known.sort();
    known.dedup();
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    let has = |pin: &&crate::lock::AssembledPin| pin.package.iter().any(|package| package.name == name);
    let of_base = lock.assembled.iter().find(has).map(|pin| pin.base.clone());
    Err(LockError::UnknownName { given: name.to_owned(), of_base, known })
}

fn read(path: &Path) -> Result<Option<String>, LockError> {
    let damaged = |reason: &str| LockError::Damaged { path: shown(path), reason: reason.to_owned() };
    fs::unless_missing(fs::read_to_string(path)).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => damaged("it is not UTF-8"),
        std::io::ErrorKind::FileTooLarge => damaged("it has more than 64 MiB"),
        std::io::ErrorKind::IsADirectory => damaged("it is a directory and not a file"),
        std::io::ErrorKind::InvalidInput => damaged("it is a pipe, a socket or a device"),
        _ => error.into(),
    })
}

fn write(path: &Path, lock: &Lock) -> Result<(), LockError> {
    fs::write_atomic(path, text::render(lock).as_bytes(), 0o644)
        .map_err(|source| LockError::Write { path: shown(path), source })
}

/// The directory of the lock.
fn dir(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// The name of the lock in messages.
fn shown(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn note(reporter: &dyn Reporter, level: Level, text: String) {
    reporter.report(Event::Note { level, platform: None, text });
}

fn report_changes(reporter: &dyn Reporter, what: &str, differences: &[Difference]) {
    let lines = differences.iter().fold(String::new(), |text, difference| format!("{text}\n  {difference}"));
    note(reporter, Level::Info, format!("{what}{lines}"));
}
