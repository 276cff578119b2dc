//! An ELF file with everything that the link check needs to know about it.

use object::FileKind;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, Sym};
use serde::{Deserialize, Serialize};

use super::GlibcVersion;
use super::{ArmCode, Beyond, Elf, Kind, ParseError, Symbols, beyond, code, parse, strings, symbols};

/// Read up to this many bytes after the loaded part, for the names of functions.
const NAMES: u64 = 16 << 20;
/// Search at most this many segments for strings. Linkers make a handful.
pub(super) const MOST_LOADS: usize = 64;

/// An ELF file: headers, dynamic symbols and what its strings reveal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Object {
    /// Its headers and dynamic segment.
    pub elf: Elf,
    /// Its dynamic symbols.
    pub symbols: Symbols,
    /// Its search path for libraries, if it is a dynamic loader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<Loader>,
    /// What it will need at run time that no header lists.
    #[serde(default, skip_serializing_if = "Traits::is_empty")]
    pub traits: Traits,
    /// What its instructions reveal, if it is an Arm file and there is something to report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ArmCode>,
    /// The instructions beyond the baseline processor that it uses without checking for them, at most one per level.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beyond: Vec<Beyond>,
}

/// A dynamic loader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Loader {
    /// glibc's.
    Glibc {
        /// The directories that were compiled in, without slashes at their ends; empty if they were not found.
        dirs: Vec<String>,
        /// The path of its cache, without a leading slash.
        cache: Option<String>,
        /// True if it supports `glibc-hwcaps` directories (since 2.33).
        hwcaps: bool,
        /// True if it supports the older subdirectories: `tls`, and those named after processors and their features
        /// (until 2.36).
        legacy: bool,
    },
    /// musl's, which is also its C library.
    Musl {
        /// Its version, if it was found: 1.2.3 is (1, 2, 3).
        version: Option<(u32, u32, u32)>,
    },
}

/// What a program will need at run time that no header lists: found by the strings in it, or by its symbols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Traits {
    /// It looks for the system's certificates (`SSL_CERT_FILE`).
    pub certificates: bool,
    /// It looks up time zones (`/usr/share/zoneinfo`).
    pub time_zones: bool,
    /// It has glibc linked statically, including functions that load libraries at run time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_glibc: Option<StaticGlibc>,
}

/// Functions of a static glibc that look for files of the shared glibc when they are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StaticGlibc {
    /// `getaddrinfo` and other functions that use the name service switch.
    pub names: bool,
    /// `dlopen`.
    pub dlopen: bool,
    /// `iconv_open`.
    pub iconv: bool,
}

impl Traits {
    /// True if no trait is set.
    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How many bytes of a file have to be read, given its first ones: what comes after them is debugging information.
/// `None` if it is not an ELF file.
#[must_use]
pub fn extent(start: &[u8], size: u64) -> Option<u64> {
    match FileKind::parse(start) {
        Ok(FileKind::Elf32) => Some(extent_of::<elf::FileHeader32<object::Endianness>>(start, size)),
        Ok(FileKind::Elf64) => Some(extent_of::<elf::FileHeader64<object::Endianness>>(start, size)),
        _ => None,
    }
}

fn extent_of<H: FileHeader<Endian = object::Endianness>>(start: &[u8], size: u64) -> u64 {
    let segments = || {
        let header = H::parse(start).ok()?;
        let endian = header.endian().ok()?;
        // Arm's attributes come after all segments.
        if header.e_machine(endian) == elf::EM_ARM {
            return None;
        }
        let segments = header.program_headers(endian, start).ok()?;
        let ends = segments.iter().map(|segment| {
            let (offset, size) = segment.file_range(endian);
            offset.saturating_add(size)
        });
        // The symbols of a static program come after its segments.
        let dynamic = segments.iter().any(|segment| segment.p_type(endian) == elf::PT_INTERP)
            || header.e_type(endian).0 == 3;
        if dynamic { ends.max() } else { None }
    };
    // Names of functions come after the segments too. They are worth reading if that costs little.
    segments().map_or(size, |end| if size.saturating_sub(end) <= NAMES { size } else { end.min(size) })
}

impl Object {
    /// Reads a file, of which `bytes` has at least the first [`extent`] bytes. Never panics, whatever they are.
    ///
    /// # Errors
    ///
    /// If the bytes are not an ELF file, or end too early.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let parsed = parse::parse(bytes)?;
        let symbols = if parsed.elf.dynamic { symbols::read(&parsed)? } else { Symbols::default() };
        let code = code::look(&parsed, bytes);
        let beyond = beyond::look(&parsed, bytes);
        let traits = traits(&parsed, bytes);
        let elf = parsed.elf;
        let loader = loader(&elf, &symbols, bytes);
        Ok(Self { elf, symbols, loader, traits, code, beyond })
    }

    /// Roughly how much memory it takes, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let names = self.elf.needed.iter().chain(&self.elf.filters).chain(&self.elf.auxiliaries);
        let texts = names.chain(&self.elf.versions_defined).map(|text| text.len() + 24);
        let needs = self.elf.versions_needed.iter().map(|need| need.library.len() + need.version.len() + 56);
        let undefined = self.symbols.undefined.iter().map(|symbol| symbol.0.len() + 32);
        texts.chain(needs).chain(undefined).sum::<usize>() + 8 * self.symbols.count() + 512
    }

    /// The version of glibc, if the file is a `libc.so.6`.
    #[must_use]
    pub fn glibc(&self) -> Option<GlibcVersion> {
        let named = self.elf.soname.as_deref().is_none_or(|name| name.starts_with("libc.so"));
        if named { self.elf.newest_glibc_defined() } else { None }
    }
}

fn loader(elf: &Elf, symbols: &Symbols, bytes: &[u8]) -> Option<Loader> {
    if elf.kind != Kind::Shared {
        return None;
    }
    // The same test that musl uses to recognise itself when it meets a second C library.
    let is_libc = symbols.defines("__libc_start_main", None) && symbols.defines("stdin", None);
    if is_libc && elf.versions_defined.is_empty() && elf.needed.is_empty() {
        return Some(Loader::Musl { version: strings::musl(bytes) });
    }
    let name = elf.soname.as_deref()?;
    let glibcs_own = name.starts_with("ld")
        && name.contains(".so")
        && symbols.defines("_dl_signal_error", None)
        || elf.versions_defined.iter().any(|version| version == "GLIBC_PRIVATE") && name.starts_with("ld");
    glibcs_own.then(|| Loader::Glibc {
        dirs: strings::dirs(bytes),
        cache: strings::cache(bytes),
        hwcaps: strings::has(bytes, b"glibc-hwcaps"),
        legacy: strings::glibc(bytes).is_none_or(|version| version < GlibcVersion(2, 37)),
    })
}

fn traits(parsed: &parse::Parsed<'_>, bytes: &[u8]) -> Traits {
    if !parsed.elf.is_program() {
        return Traits::default();
    }
    // Only what is loaded: debugging information has the names of everything that the compiler has seen. Segments may
    // overlap.
    let loads = || parsed.image.loads().take(MOST_LOADS);
    let has = |text: &[u8]| loads().any(|load| strings::has(load.bytes, text));
    // The names of tunables, and a message of the startup code.
    let glibc = parsed.elf.is_static() && (has(b"glibc.malloc.") || has(b"FATAL: kernel too old"));
    Traits {
        certificates: has(b"SSL_CERT_FILE"),
        time_zones: has(b"/usr/share/zoneinfo"),
        static_glibc: if glibc { static_glibc(bytes) } else { None },
    }
}

/// Which of these functions a static glibc in a program has. The program's own symbols decide; if they were stripped,
/// strings that occur only together with the functions.
fn static_glibc(bytes: &[u8]) -> Option<StaticGlibc> {
    let found = match FileKind::parse(bytes) {
        Ok(FileKind::Elf32) => functions::<elf::FileHeader32<object::Endianness>>(bytes),
        Ok(FileKind::Elf64) => functions::<elf::FileHeader64<object::Endianness>>(bytes),
        _ => None,
    };
    let found = found.unwrap_or_else(|| StaticGlibc {
        names: strings::has(bytes, b"/etc/gai.conf"),
        ..StaticGlibc::default()
    });
    (found != StaticGlibc::default()).then_some(found)
}

/// The functions in the symbol table of the static linker (`.symtab`); `None` if it was stripped.
fn functions<H: FileHeader<Endian = object::Endianness>>(bytes: &[u8]) -> Option<StaticGlibc> {
    let header = H::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let symbols = sections.symbols(endian, bytes, elf::SHT_SYMTAB).ok()?;
    if symbols.is_empty() {
        return None;
    }
    let mut found = StaticGlibc::default();
    for symbol in symbols.iter() {
        if symbol.st_shndx(endian).0 == 0 {
            continue;
        }
        match symbol.name(endian, symbols.strings()).unwrap_or_default() {
            b"getaddrinfo" | b"gethostbyname" | b"getpwnam" | b"getpwuid" => found.names = true,
            b"dlopen" => found.dlopen = true,
            b"iconv_open" => found.iconv = true,
            _ => {}
        }
    }
    Some(found)
}
