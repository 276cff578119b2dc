//! The combined meaning of `--output`, `--load`, `--compression` and `--annotation`. Pure.

use std::collections::BTreeSet;

use super::annotation::Annotations;
use super::error::{Error, Problem};
use super::output::{self, Parsed};
use super::sources::{Found, Sources, parsed};
use super::{Compression, values};
use crate::oci::Reference;
use crate::origin::Origin;
use crate::output::{EngineOutput, Output, OutputKind, RegistryOutput, Sink, Unfit};

/// An output, with its origin.
pub(super) struct Wanted {
    parsed: Parsed,
    origin: Origin,
}

impl<'a> Sources<'a> {
    pub(super) fn outputs(&self) -> Result<Vec<Wanted>, Error> {
        let given = self.flags.outputs.iter().map(|text| self.of_flag("--output", Some(text)));
        let mut found: Vec<Found<'a>> = given.flatten().collect();
        if found.is_empty() {
            found.extend(self.of_environment("XBUILD_OUTPUT"));
        }
        let mut outputs = found
            .into_iter()
            .map(|found| {
                let parsed = parsed(&found, |found| output::parse(found.text, found.dir))?;
                Ok(Wanted { parsed, origin: found.origin })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        if let Some(engine) = self.flags.load {
            let output = Output::new(OutputKind::Engine(EngineOutput { engine }));
            let parsed = Parsed { output, compression: None, annotations: Vec::new() };
            outputs.push(Wanted { parsed, origin: Origin::Flag("--load") });
        }
        if self.flags.push {
            let output = Output::new(OutputKind::Registry(RegistryOutput { by_digest: false }));
            let parsed = Parsed { output, compression: None, annotations: Vec::new() };
            outputs.push(Wanted { parsed, origin: Origin::Flag("--push") });
        }
        Ok(outputs)
    }

    /// The registries in the names that flags and variables give to the image. A project's own names are not included,
    /// since somebody else chose them.
    pub(super) fn named(&self, outputs: &[Wanted]) -> BTreeSet<String> {
        let variable = self.of_environment("XBUILD_TAG").map(|found| found.text);
        let tags = self.flags.tags.iter().map(String::as_str).chain(variable);
        let names = outputs.iter().flat_map(|output| output.parsed.output.names.iter().map(String::as_str));
        let all = tags.flat_map(|text| text.split(',')).chain(names);
        let registry = |text: &str| {
            let reference: Reference = text.trim().parse().ok()?;
            Some(reference.repository()?.split_once('/')?.0.to_owned())
        };
        all.filter_map(registry).collect()
    }

    /// The annotations of `--annotation` and of the fields of outputs.
    pub(super) fn annotations(&self, outputs: &[Wanted]) -> Result<Annotations, Error> {
        let mut annotations = Annotations::default();
        for wanted in outputs {
            for text in &wanted.parsed.annotations {
                annotations.add(text).map_err(|problem| problem.at(&wanted.origin))?;
            }
        }
        for text in &self.flags.annotations {
            annotations.add(text).map_err(|problem| problem.at(&Origin::Flag("--annotation")))?;
        }
        Ok(annotations)
    }

    /// How layers are compressed. An image has one digest in every destination, so all outputs must agree.
    pub(super) fn compression(&self, outputs: &[Wanted]) -> Result<Compression, Error> {
        let found = self.of_flag("--compression", self.flags.compression.as_deref());
        let flag = found.map(|found| parsed(&found, |found| values::compression(found.text))).transpose()?;
        let mut chosen = flag;
        for wanted in outputs {
            match (chosen, wanted.parsed.compression) {
                (Some(one), Some(other)) if one != other => {
                    return Err(Problem::Compressions { one, other }.at(&wanted.origin));
                }
                (None, Some(other)) => chosen = Some(other),
                _ => {}
            }
        }
        if let Some(chosen) = chosen {
            return Ok(chosen);
        }
        let found = self
            .of_environment("XBUILD_COMPRESSION")
            .or_else(|| self.of_project(|file| file.compression.as_ref()));
        found.map_or(Ok(Compression::Gzip(None)), |found| {
            parsed(&found, |found| values::compression(found.text))
        })
    }
}

/// Checks the combination of outputs.
pub(super) fn check_outputs(outputs: &[Wanted], tags: &[String], platforms: usize) -> Result<(), Error> {
    let mut streams = 0;
    for wanted in outputs {
        let output = &wanted.parsed.output;
        streams += u32::from(output.sink() == Some(&Sink::Stdout));
        if streams > 1 {
            return Err(Problem::TwoStreams.at(&wanted.origin));
        }
        output.check(tags, platforms).map_err(|unfit| Problem::from(unfit).at(&wanted.origin))?;
        let same = |other: &&Wanted| output.path().is_some() && other.parsed.output.path() == output.path();
        if let Some(path) = output.path()
            && outputs.iter().filter(same).any(|other| other.parsed.output != *output)
        {
            let (option, what) = ("--output", format!("`{}`", path.display()));
            return Err(Problem::Twice { option, what }.at(&wanted.origin));
        }
    }
    Ok(())
}

impl From<Unfit> for Problem {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::NoName => Self::NoName,
            Unfit::Name { name, remedy } => values::form("a repository to push to", &name, remedy),
            Unfit::OnePlatform { platforms } => Self::OnePlatform { platforms },
        }
    }
}

/// Removes duplicates and sorts the outputs.
pub(super) fn sorted(outputs: Vec<Wanted>) -> Vec<Output> {
    let mut outputs: Vec<Output> = outputs.into_iter().map(|wanted| wanted.parsed.output).collect();
    outputs.sort();
    outputs.dedup();
    outputs
}
