//! The syntax of `--output`: where the image goes, in docker buildx's fields. Pure.
//!
//! Two things differ from buildx, both described in docs/configuration.md: a plain path is an OCI layout, and one build
//! has one image, so compression and annotations of an output apply to all outputs.

use std::path::Path;

use super::error::Problem;
use super::{Compression, values};
use crate::output::{
    ArchiveOutput, DirectoryOutput, DockerArchiveOutput, EngineOutput, LayoutOutput, Output, OutputKind,
    RegistryOutput, Sink, TarOutput,
};

/// A parsed output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) output: Output,
    /// `compression` and `compression-level`.
    pub(super) compression: Option<Compression>,
    /// `annotation-….KEY=VALUE`, each in the form of `--annotation`.
    pub(super) annotations: Vec<String>,
}

const WHAT: &str = "an output";
const REMEDY: &str = "write a directory's path, or fields: `type=oci,dest=FILE`";
const TYPES: &[&str] = &["oci", "docker", "image", "registry", "local", "tar"];
const FIELDS: &[&str] = &[
    "type",
    "dest",
    "name",
    "tar",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "rewrite-timestamp",
    "platform-split",
    "push",
    "push-by-digest",
    "annotation",
];

fn form(given: &str, remedy: &'static str) -> Problem {
    Problem::Form { what: WHAT, given: given.to_owned(), remedy }
}

/// Parses an output. A relative path starts from `dir`.
pub(super) fn parse(text: &str, dir: &Path) -> Result<Parsed, Problem> {
    let plain = |kind| Parsed { output: Output::new(kind), compression: None, annotations: Vec::new() };
    if text == "-" {
        return Ok(plain(OutputKind::Tar(TarOutput { to: Sink::Stdout, split: None })));
    }
    if !text.contains('=') {
        return match text {
            "" => Err(form(text, REMEDY)),
            path => Ok(plain(OutputKind::Layout(LayoutOutput { path: dir.join(path) }))),
        };
    }
    let fields = Fields::parse(text)?;
    let kind = fields.kind(text, dir)?;
    Ok(Parsed {
        compression: fields.compression()?,
        output: Output { kind, names: fields.names },
        annotations: fields.annotations,
    })
}

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    dest: Option<String>,
    tar: Option<bool>,
    split: Option<bool>,
    push: Option<bool>,
    by_digest: Option<bool>,
    names: Vec<String>,
    codec: Option<String>,
    level: Option<String>,
    annotations: Vec<String>,
}

impl Fields {
    fn parse(text: &str) -> Result<Self, Problem> {
        let mut fields = Self::default();
        for field in split(text).ok_or_else(|| form(text, "close the quotation marks"))? {
            let (key, value) = field.trim().split_once('=').ok_or_else(|| form(text, REMEDY))?;
            let flag = || truth(value).ok_or_else(|| form(text, "write `true` or `false`"));
            match key {
                "type" => fields.kind = Some(value.to_owned()),
                "dest" if !value.is_empty() => fields.dest = Some(value.to_owned()),
                "name" => {
                    for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                        fields.names.push(values::tag(name)?);
                    }
                }
                "tar" => fields.tar = Some(flag()?),
                "platform-split" => fields.split = Some(flag()?),
                "push" => fields.push = Some(flag()?),
                "push-by-digest" => fields.by_digest = Some(flag()?),
                "compression" => fields.codec = Some(value.to_owned()),
                "compression-level" => fields.level = Some(value.to_owned()),
                // What xbuild does anyway is accepted; the opposite is refused with the reason.
                "oci-mediatypes" | "rewrite-timestamp" if flag()? => {}
                "force-compression" if !flag()? => {}
                "oci-mediatypes" => return Err(form(text, "xbuild writes only OCI media types")),
                "rewrite-timestamp" => {
                    return Err(form(text, "time stamps always follow SOURCE_DATE_EPOCH or the commit"));
                }
                "force-compression" => {
                    return Err(form(
                        text,
                        "layers of the base stay as they are, so that nothing stores them twice",
                    ));
                }
                _ => match annotation(key) {
                    Some(prefix) => fields.annotations.push(format!("{prefix}={value}")),
                    None if key == "dest" => return Err(form(text, "add the path: `dest=PATH`")),
                    None => {
                        let (what, given) = ("field of an output", key.to_owned());
                        return Err(Problem::UnknownWord { what, given, known: FIELDS.to_vec() });
                    }
                },
            }
        }
        Ok(fields)
    }

    fn kind(&self, text: &str, dir: &Path) -> Result<OutputKind, Problem> {
        let sink = || match self.dest.as_deref() {
            None | Some("-") => Sink::Stdout,
            Some(path) => Sink::File(dir.join(path)),
        };
        let path = || match self.dest.as_deref() {
            Some(path) if path != "-" => Ok(dir.join(path)),
            _ => Err(form(text, "add the directory's path: `dest=PATH`")),
        };
        let only = |allowed: bool, remedy| if allowed { Ok(()) } else { Err(form(text, remedy)) };
        let kind = self.kind.as_deref();
        only(
            self.split.is_none() || matches!(kind, Some("local" | "tar")),
            "`platform-split` belongs to `type=local` and `type=tar`",
        )?;
        only(self.tar.is_none() || matches!(kind, Some("oci" | "docker")), "`tar` belongs to `type=oci`")?;
        let pushes = matches!(kind, Some("image" | "registry"));
        only(
            pushes || (self.push.is_none() && self.by_digest.is_none()),
            "`push` and `push-by-digest` belong to `type=image` and `type=registry`",
        )?;
        only(self.dest.is_none() || !pushes, "a registry has no `dest`: `name` gives the repository")?;
        match kind {
            Some("registry") => {
                only(self.push != Some(false), "`type=registry` pushes; leave `push` out")?;
                Ok(OutputKind::Registry(RegistryOutput { by_digest: self.by_digest == Some(true) }))
            }
            Some("image") => {
                only(
                    self.push == Some(true),
                    "add `push=true`: xbuild has no image store of its own; `--load` loads the image into an engine",
                )?;
                Ok(OutputKind::Registry(RegistryOutput { by_digest: self.by_digest == Some(true) }))
            }
            Some("oci") if self.tar == Some(false) => Ok(OutputKind::Layout(LayoutOutput { path: path()? })),
            Some("oci") => Ok(OutputKind::Archive(ArchiveOutput { to: sink() })),
            Some("docker") => {
                only(self.tar != Some(false), "`type=oci,tar=false` is the same directory")?;
                Ok(match self.dest {
                    None => OutputKind::Engine(EngineOutput { engine: None }),
                    Some(_) => OutputKind::DockerArchive(DockerArchiveOutput { to: sink() }),
                })
            }
            Some("local") => Ok(OutputKind::Directory(DirectoryOutput { path: path()?, split: self.split })),
            Some("tar") => Ok(OutputKind::Tar(TarOutput { to: sink(), split: self.split })),
            Some(kind) => Err(Problem::UnknownWord {
                what: "output type",
                given: kind.to_owned(),
                known: TYPES.to_vec(),
            }),
            None => Err(form(text, "add the type: `type=oci,dest=PATH`")),
        }
    }

    fn compression(&self) -> Result<Option<Compression>, Problem> {
        let codec = match (&self.codec, &self.level) {
            (None, None) => return Ok(None),
            (codec, None) => codec.clone().unwrap_or_default(),
            (codec, Some(level)) => format!("{}:{level}", codec.as_deref().unwrap_or("gzip")),
        };
        values::compression(&codec).map(Some)
    }
}

/// Splits fields at commas. A field in double quotes may contain commas, as in Go's CSV reader.
fn split(text: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut()?;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            character => field.push(character),
        }
    }
    (!quoted).then_some(fields)
}

/// Parses a boolean as Go does.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Converts `annotation.KEY`, `annotation-index.KEY`, `annotation-manifest[PLATFORM].KEY` to the form of
/// `--annotation`: `KEY`, `index:KEY`, `manifest[PLATFORM]:KEY`.
fn annotation(key: &str) -> Option<String> {
    let rest = key.strip_prefix("annotation")?;
    if let Some(key) = rest.strip_prefix('.') {
        return Some(key.to_owned());
    }
    // BuildKit also accepts a platform without a level.
    let rest = if rest.starts_with('[') { format!("-manifest{rest}") } else { rest.to_owned() };
    // The level's platform cannot contain a dot; the key can.
    let (level, key) = rest.strip_prefix('-')?.split_once('.')?;
    Some(format!("{level}:{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Result<OutputKind, Problem> {
        parse(text, Path::new("/f")).map(|parsed| parsed.output.kind)
    }

    #[test]
    fn outputs_are_buildxs_but_for_a_path_alone() {
        let file = |path: &str| Sink::File(path.into());
        for (text, meant) in [
            ("out", OutputKind::Layout(LayoutOutput { path: "/f/out".into() })),
            ("-", OutputKind::Tar(TarOutput { to: Sink::Stdout, split: None })),
            ("type=oci,dest=o,tar=false", OutputKind::Layout(LayoutOutput { path: "/f/o".into() })),
            ("type=oci,dest=/o.tar", OutputKind::Archive(ArchiveOutput { to: file("/o.tar") })),
            ("type=oci", OutputKind::Archive(ArchiveOutput { to: Sink::Stdout })),
            ("type=oci,dest=-", OutputKind::Archive(ArchiveOutput { to: Sink::Stdout })),
            ("type=docker", OutputKind::Engine(EngineOutput { engine: None })),
            (
                "type=docker,dest=d.tar",
                OutputKind::DockerArchive(DockerArchiveOutput { to: file("/f/d.tar") }),
            ),
            ("type=registry", OutputKind::Registry(RegistryOutput { by_digest: false })),
            ("type=image,push=true", OutputKind::Registry(RegistryOutput { by_digest: false })),
            (
                "type=image,push=true,push-by-digest=true",
                OutputKind::Registry(RegistryOutput { by_digest: true }),
            ),
            (
                "type=local,dest=root",
                OutputKind::Directory(DirectoryOutput { path: "/f/root".into(), split: None }),
            ),
            (
                "type=local,dest=root,platform-split=false",
                OutputKind::Directory(DirectoryOutput { path: "/f/root".into(), split: Some(false) }),
            ),
            ("type=tar,dest=r.tar", OutputKind::Tar(TarOutput { to: file("/f/r.tar"), split: None })),
            ("type=tar", OutputKind::Tar(TarOutput { to: Sink::Stdout, split: None })),
            (
                "type=oci,oci-mediatypes=true,force-compression=0",
                OutputKind::Archive(ArchiveOutput { to: Sink::Stdout }),
            ),
        ] {
            assert_eq!(kind(text), Ok(meant), "{text}");
        }
    }

    #[test]
    fn fields_have_names_compression_and_annotations() {
        let parsed = parse(
            "type=oci,dest=o,\"name=a:1,ghcr.io/me/b:2\",compression=zstd,compression-level=9,annotation.k=v=w,\
             annotation-index.org.x=1,annotation-manifest[linux/arm64].y=2",
            Path::new("/f"),
        )
        .unwrap();
        assert_eq!(parsed.output.names, ["a:1", "ghcr.io/me/b:2"]);
        assert_eq!(parsed.compression, Some(Compression::Zstd(Some(9))));
        assert_eq!(parsed.annotations, ["k=v=w", "index:org.x=1", "manifest[linux/arm64]:y=2"]);
        let level = parse("type=oci,compression-level=3", Path::new("/f")).unwrap();
        assert_eq!(level.compression, Some(Compression::Gzip(Some(3))));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            "dest=o",
            "type=oci,tar=perhaps",
            "type=oci,dest=",
            "type=oci,dest",
            "type=oci,\"name=a",
            "type=image",
            "type=image,push=false",
            "type=registry,push=false",
            "type=registry,dest=o",
            "type=oci,push=true",
            "type=oci,push-by-digest=true",
            "type=local",
            "type=local,dest=-",
            "type=oci,tar=false",
            "type=oci,platform-split=true",
            "type=tar,tar=false",
            "type=docker,tar=false,dest=x",
            "type=oci,force-compression=true",
            "type=oci,oci-mediatypes=false",
            "type=oci,rewrite-timestamp=false",
            "type=oci,name=Ab",
        ] {
            assert!(matches!(kind(text), Err(Problem::Form { .. })), "{text}: {:?}", kind(text));
        }
        for text in
            ["type=zip,dest=o", "type=oci,dst=o", "type=oci,compression=lzma", "type=oci,annotationx=1"]
        {
            assert!(matches!(kind(text), Err(Problem::UnknownWord { .. })), "{text}");
        }
    }
}
