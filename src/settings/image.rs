//! The image's configuration and files of one platform, merged from all documents. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::annotation::Annotations;
use super::error::{Error, Problem};
use super::sources::Sources;
use super::{FileSettings, Owner, values};
use crate::config::{Document, FileTable, HealthcheckTable, ImageTable, Port, ProjectFile, Text};
use crate::image::{Healthcheck, ImageSettings};
use crate::origin::{Origin, Source};
use crate::target::platform::Platform;

/// A table and the document that it is from, in the order of precedence.
type Layer<'a> = (&'a Document<ProjectFile>, &'a ImageTable);

/// The image's configuration: single values and lists come from the first table that has them, maps are merged.
pub(super) fn image(
    sources: &Sources<'_>,
    platform: &Platform,
    labels: &[String],
    annotations: &Annotations,
) -> Result<ImageSettings, Error> {
    let layers: Vec<Layer<'_>> = sources
        .layers(platform)
        .flat_map(|(document, table)| {
            let special = table.map(|table| (document, &table.image));
            special.into_iter().chain([(document, &document.value.image)])
        })
        .collect();
    let mut expose = BTreeSet::new();
    if let Some((document, ports)) = first(&layers, |image| image.expose.as_ref()) {
        for port in ports {
            let text = match port.get_ref() {
                Port::Number(number) => number.to_string(),
                Port::Text(text) => text.clone(),
            };
            expose.insert(values::port(&text).map_err(|problem| problem.at(&at(document, port.span())))?);
        }
    }
    let mut volumes = BTreeSet::new();
    if let Some((document, paths)) = first(&layers, |image| image.volumes.as_ref()) {
        for path in paths {
            volumes.insert(dir_path(document, path)?);
        }
    }
    Ok(ImageSettings {
        entrypoint: first(&layers, |image| image.entrypoint.as_ref()).map(|(_, list)| list.clone()),
        cmd: first(&layers, |image| image.cmd.as_ref()).map(|(_, list)| list.clone()),
        env: map(&layers, |image| &image.env, values::variable_name)?,
        workdir: first(&layers, |image| image.workdir.as_ref())
            .map(|(document, path)| dir_path(document, path))
            .transpose()?,
        user: first(&layers, |image| image.user.as_ref())
            .map(|(document, user)| text(document, user, user_name))
            .transpose()?,
        expose: expose.into_iter().collect(),
        volumes: volumes.into_iter().collect(),
        labels: with_flags(map(&layers, |image| &image.labels, key)?, "--label", labels)?,
        annotations: map(&layers, |image| &image.annotations, key)?,
        manifest_annotations: annotations.of_manifest(platform),
        descriptor_annotations: annotations.of_descriptor(platform),
        stop_signal: first(&layers, |image| image.stop_signal.as_ref())
            .map(|(document, signal)| text(document, signal, values::signal))
            .transpose()?,
        healthcheck: first(&layers, |image| image.healthcheck.as_ref())
            .map(|(document, table)| healthcheck(document, table))
            .transpose()?,
    })
}

fn at(document: &Document<ProjectFile>, span: std::ops::Range<usize>) -> Origin {
    Origin::Project(document.location(span))
}

fn first<'a, T>(
    layers: &[Layer<'a>],
    get: impl Fn(&'a ImageTable) -> Option<&'a T>,
) -> Option<(&'a Document<ProjectFile>, &'a T)> {
    layers.iter().find_map(|(document, image)| get(image).map(|value| (*document, value)))
}

fn text<T>(
    document: &Document<ProjectFile>,
    text: &Text,
    parse: impl FnOnce(&str) -> Result<T, Problem>,
) -> Result<T, Error> {
    parse(text.get_ref()).map_err(|problem| problem.at(&at(document, text.span())))
}

fn dir_path(document: &Document<ProjectFile>, path: &Text) -> Result<String, Error> {
    let path = text(document, path, values::image_path)?;
    Ok(if path.len() > 1 { path.trim_end_matches('/').to_owned() } else { path })
}

fn user_name(text: &str) -> Result<String, Problem> {
    let part = |part: &str| !part.is_empty() && !part.contains([':', '/', '\0']) && part.trim() == part;
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    if part(user) && group.is_none_or(part) {
        return Ok(text.to_owned());
    }
    Err(Problem::Form {
        what: "a user",
        given: text.to_owned(),
        remedy: "write a name or a number, and optionally a group: \"65532:65532\"",
    })
}

fn key(text: &str) -> Result<(), Problem> {
    if text.is_empty() {
        let remedy = "annotations and labels have a name, as `org.opencontainers.image.title`";
        return Err(Problem::Form { what: "a key", given: String::new(), remedy });
    }
    Ok(())
}

fn map<'a>(
    layers: &[Layer<'a>],
    get: impl Fn(&'a ImageTable) -> &'a BTreeMap<Text, String>,
    check: impl Fn(&str) -> Result<(), Problem>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut merged = BTreeMap::new();
    for (document, image) in layers {
        for (name, value) in get(image) {
            check(name.get_ref()).map_err(|problem| problem.at(&at(document, name.span())))?;
            merged.entry(name.get_ref().clone()).or_insert_with(|| value.clone());
        }
    }
    Ok(merged)
}

fn with_flags(
    mut map: BTreeMap<String, String>,
    option: &'static str,
    texts: &[String],
) -> Result<BTreeMap<String, String>, Error> {
    for text in texts {
        let (key, value) = values::key_value(text).map_err(|problem| problem.at(&Origin::Flag(option)))?;
        map.insert(key, value);
    }
    Ok(map)
}

fn healthcheck(document: &Document<ProjectFile>, table: &HealthcheckTable) -> Result<Healthcheck, Error> {
    let span = |given: &Option<Text>| -> Result<Option<Duration>, Error> {
        given.as_ref().map(|given| text(document, given, values::duration)).transpose()
    };
    let test = if table.command.is_empty() {
        vec!["NONE".to_owned()]
    } else {
        std::iter::once("CMD".to_owned()).chain(table.command.iter().cloned()).collect()
    };
    Ok(Healthcheck {
        test,
        interval: span(&table.interval)?,
        timeout: span(&table.timeout)?,
        start_period: span(&table.start_period)?,
        start_interval: span(&table.start_interval)?,
        retries: table.retries,
    })
}

/// The files of a platform: the general ones of the first document that has any, then the platform's own.
pub(super) fn files(sources: &Sources<'_>, platform: &Platform) -> Result<Vec<FileSettings>, Error> {
    let general = sources
        .layers(platform)
        .find_map(|(document, _)| document.value.files.as_ref().map(|files| (document, files)));
    let special = sources
        .layers(platform)
        .find_map(|(document, table)| table?.files.as_ref().map(|files| (document, files)));
    let all = general.into_iter().chain(special);
    all.flat_map(|(document, files)| files.iter().map(move |file| (document, file)))
        .map(|(document, table)| file(document, table))
        .collect()
}

fn file(document: &Document<ProjectFile>, table: &FileTable) -> Result<FileSettings, Error> {
    let source: &Source = &document.source;
    let owner = match &table.owner {
        Some(owner) => text(document, owner, values::owner)?,
        None => Owner::default(),
    };
    let mode = table.mode.as_ref().map(|mode| text(document, mode, values::mode)).transpose()?;
    let exclude = table
        .exclude
        .iter()
        .map(|pattern| text(document, pattern, |text| values::check_pattern(text).map(|()| text.to_owned())));
    let (given, (from_build, from)) = match (&table.from, &table.from_build) {
        (Some(from), None) => (from, (None, text(document, from, values::source_path)?)),
        (None, Some(build)) => {
            let (package, from) = text(document, build, values::from_build)?;
            (build, (Some(package), from))
        }
        (Some(one), Some(_)) => return Err(Problem::TwoSources.at(&at(document, one.span()))),
        (None, None) => return Err(Problem::NoSource.at(&at(document, table.to.span()))),
    };
    Ok(FileSettings {
        root: source.dir().to_owned(),
        from,
        from_build,
        to: text(document, &table.to, values::image_path)?,
        mode,
        owner,
        exclude: exclude.collect::<Result<_, _>>()?,
        origin: at(document, given.span()),
    })
}
