//! One thin function per command: read the configuration, call the library, print the result.

use std::path::Path;

use clap::{ArgMatches, CommandFactory};
use serde::Serialize;

use super::arguments::{Arguments, BuildOptions, Command, LockOptions, PlanOptions, ToolchainCommand};
use super::repro::ReproOptions;
use super::verify::VerifyOptions;
use super::view::{self, View, print, shown_reference};
use super::{CliError, Failure, cache, diagnose, images, manifests, matrix, merge, show};
use crate::config;
use crate::event::{Event, Level};
use crate::output::OutputError;
use crate::output::report::{self, Published};
use crate::pipeline::{self, Update};
use crate::repro::ReproError;
use crate::settings::{self, Host, Machine, Settings, Sink};
use crate::sys::cancel::Cancel;
use crate::sys::env::{self, Environment};
use crate::target::catalog::{Libc, Target};
use crate::target::platform::Platform;
use crate::text::nearest;
use crate::verify;

/// What every command is given.
pub(super) struct Context<'a> {
    pub(super) arguments: &'a Arguments,
    /// The matches that the arguments were parsed from.
    pub(super) matches: &'a ArgMatches,
    pub(super) environment: &'a Environment,
    pub(super) view: &'a View,
    pub(super) cancel: &'a Cancel,
}

/// Runs the command.
pub(super) fn run(
    arguments: &Arguments,
    matches: &ArgMatches,
    environment: &Environment,
    view: &View,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let context = Context { arguments, matches, environment, view, cancel };
    let limited = match arguments.command.limit() {
        Some((name, flag)) => context.within(flag, name)?,
        None => cancel.clone(),
    };
    let (context, cancel) = (Context { cancel: &limited, ..context }, &limited);
    match &arguments.command {
        Command::Build(options) => build(&context, options),
        Command::Plan(options) => plan(&context, options),
        Command::Lock(options) => lock(&context, options),
        Command::Push(options) => images::push(&context, options),
        Command::Pull(options) => images::pull(&context, options),
        Command::Resolve(options) => manifests::resolve(&context, options),
        Command::Apply(options) => manifests::apply(&context, options),
        Command::Copy(options) => images::copy(&context, options),
        Command::Inspect(options) => images::inspect_image(&context, options),
        Command::Ls(options) => images::list(&context, options),
        Command::Tag(options) => images::tag(&context, options),
        Command::Index(command) => merge::index(&context, command),
        Command::Matrix(options) => matrix::matrix(&context, options),
        Command::Targets(options) => targets(options.json),
        Command::Toolchain(command) => {
            let offline = matches!(command, ToolchainCommand::Install { offline: true, .. });
            diagnose::toolchain(command, &context.machine(offline)?, environment, view, cancel)
        }
        Command::Cache(command) => cache::cache(&context, command),
        Command::Doctor { .. } => diagnose::doctor(&context.machine(false)?, environment, view, cancel),
        Command::Verify(options) => verify(&context, options),
        Command::Repro(options) => repro(&context, options),
        Command::Completions { shell } => completions(*shell),
        Command::Man { command } => man(command.as_deref()),
    }
}

impl Context<'_> {
    fn host(&self) -> Result<Host, CliError> {
        Ok(Host {
            platform: Platform::new("linux", env::architecture(), None),
            dir: env::current_dir().map_err(CliError::CurrentDirectory)?,
            color: self.view.color(),
        })
    }

    /// The settings of a build.
    pub(super) fn settings(&self, options: &BuildOptions) -> Result<Settings, Failure> {
        let host = self.host()?;
        if let Some(path) = &options.path {
            not_a_command(&host.dir, path)?;
        }
        let config = options.config.clone().or_else(|| self.environment.path("XBUILD_CONFIG"));
        let project = config::find_project(
            &host.dir,
            options.path.as_deref(),
            options.manifest_path.as_deref(),
            config.as_deref(),
        )?;
        let user = config::load_user(self.environment, &host.dir)?;
        let flags = options.flags(&self.arguments.view);
        let settings = settings::resolve(&flags, self.environment, &project, user.as_ref(), &host)?;
        for file in &settings.files {
            let text = format!("configured by `{}`", file.display());
            self.view.reporter().report(Event::Note { level: Level::Detail, platform: None, text });
        }
        Ok(settings)
    }

    /// The cancellation for a command with a time limit, which comes from the flag, a variable or the user's file.
    pub(super) fn within(&self, flag: Option<&str>, name: &str) -> Result<Cancel, Failure> {
        let host = self.host()?;
        let user = config::load_user(self.environment, &host.dir)?;
        let limit = settings::resolve_timeout(flag, self.environment, user.as_ref(), &host)?;
        Ok(self.cancel.within(limit, name))
    }

    /// The settings of a command that needs no project.
    pub(super) fn machine(&self, offline: bool) -> Result<Machine, Failure> {
        let host = self.host()?;
        let user = config::load_user(self.environment, &host.dir)?;
        Ok(settings::resolve_machine(offline, self.environment, user.as_ref(), &host)?)
    }
}

/// Reports a command's name that was taken for a directory, as in `xbuild --platform arm64 plan` and `xbuild pln`.
fn not_a_command(dir: &Path, path: &Path) -> Result<(), CliError> {
    let Some(given) = path.to_str().filter(|given| !given.contains(['/', '.'])) else { return Ok(()) };
    if crate::sys::fs::metadata(dir.join(path)).is_ok() {
        return Ok(());
    }
    let command = Arguments::command();
    let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    match nearest(given, &known) {
        Some(command) => {
            Err(CliError::CommandAsPath { given: given.to_owned(), command: command.to_owned() })
        }
        None => Ok(()),
    }
}

fn build(context: &Context<'_>, options: &BuildOptions) -> Result<(), Failure> {
    let settings = context.settings(options)?;
    let reporter = context.view.reporter();
    let streamed = settings.outputs.iter().any(|output| output.sink() == Some(&Sink::Stdout));
    let mut stdout = view::stdout(streamed)?;
    let reports = [&options.metadata_file, &options.iidfile, &options.image_refs];
    for path in reports.into_iter().flatten() {
        report::check(path, context.cancel)?;
    }
    let outcome = pipeline::run(&settings, context.environment, reporter, context.cancel, &mut *stdout)?;
    write_reports(options, &outcome.published, context.cancel)?;
    context.view.finish();
    if !streamed {
        print(&result_line(context, &outcome))?;
    }
    match outcome.failed {
        Some(failed) => Err(failed.error().into()),
        None => Ok(()),
    }
}

/// The line for standard output: the reference with its digest, or with `-q` the image's ID as in docker.
fn result_line(context: &Context<'_>, outcome: &pipeline::Outcome) -> String {
    if context.arguments.view.quiet {
        return format!("{}\n", outcome.published.id());
    }
    format!("{}@{}\n", shown_reference(&outcome.reference), outcome.digest)
}

/// `--metadata-file`, `--iidfile` and `--image-refs`.
fn write_reports(options: &BuildOptions, published: &Published, cancel: &Cancel) -> Result<(), OutputError> {
    if let Some(path) = &options.iidfile {
        // Without a newline, as docker build writes it.
        report::write(path, &published.id().to_string(), cancel)?;
    }
    if let Some(path) = &options.image_refs {
        report::write(path, &published.references(), cancel)?;
    }
    if let Some(path) = &options.metadata_file {
        report::write(path, &json_text(&published.metadata()), cancel)?;
    }
    Ok(())
}

fn plan(context: &Context<'_>, options: &PlanOptions) -> Result<(), Failure> {
    let settings = context.settings(&options.build)?;
    let plan = pipeline::plan_only(&settings, context.environment, context.view.reporter(), context.cancel)?;
    context.view.finish();
    let text = if options.json { json_text(&plan) } else { show::plan(&plan, &settings) };
    Ok(print(&text)?)
}

fn lock(context: &Context<'_>, options: &LockOptions) -> Result<(), Failure> {
    let settings = context.settings(&options.build)?;
    let update = match &options.update {
        None => Update::Nothing,
        Some(names) if names.is_empty() => Update::Everything,
        Some(names) => Update::Named(names.clone()),
    };
    let locked =
        pipeline::lock(&settings, context.environment, &update, context.view.reporter(), context.cancel)?;
    context.view.finish();
    Ok(print(&format!("{}\n", shown_reference(&locked.path.display().to_string())))?)
}

fn verify(context: &Context<'_>, options: &VerifyOptions) -> Result<(), Failure> {
    images::Images::run(context, [], |images| {
        let source = images.open(&options.image)?;
        let wanted = verify::Options { platforms: options.platform.clone(), strict: options.strict };
        let report = verify::verify(&source, &wanted, context.cancel)?;
        context.view.finish();
        print(&if options.json { json_text(&report) } else { super::verify::text(&report) })?;
        Ok(super::verify::verdict(&report, options.strict)?)
    })
}

fn repro(context: &Context<'_>, options: &ReproOptions) -> Result<(), Failure> {
    let settings = context.settings(&options.build)?;
    let matches = context.matches.subcommand_matches("repro").unwrap_or(context.matches);
    let Context { environment, view, cancel, .. } = *context;
    let comparison = super::repro::repro(options, matches, &settings, environment, view, cancel)?;
    view.finish();
    print(&if options.json { json_text(&comparison) } else { super::repro::text(&comparison) })?;
    if comparison.reproducible {
        return Ok(());
    }
    Err(ReproError::Differs { count: comparison.differences.len() }.into())
}

/// A row of `xbuild targets`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct TargetRow {
    platform: String,
    triple: &'static str,
    libc: Libc,
    /// True if a build uses it by default.
    default: bool,
}

fn targets(json: bool) -> Result<(), Failure> {
    let rows: Vec<TargetRow> = Target::all()
        .iter()
        .map(|target| TargetRow {
            platform: target.platform.to_string(),
            triple: &target.triple,
            libc: target.libc,
            default: target.libc == Libc::Gnu
                && settings::DEFAULT_PLATFORMS.contains(&target.platform.to_string().as_str()),
        })
        .collect();
    let text = if json { json_text(&rows) } else { target_table(&rows) };
    Ok(print(&text)?)
}

fn target_table(rows: &[TargetRow]) -> String {
    let mut text = format!("{:<15} {:<32} {:<6} {}\n", "PLATFORM", "TRIPLE", "LIBC", "DEFAULT");
    for row in rows {
        let default = if row.default { "yes" } else { "" };
        let line = format!("{:<15} {:<32} {:<6} {default}", row.platform, row.triple, row.libc.to_string());
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Formats a value as indented JSON. Encoding cannot fail, as our own types contain nothing that JSON lacks.
pub(super) fn json_text<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "xbuild", &mut script);
    Ok(print(&String::from_utf8_lossy(&script))?)
}

fn man(name: Option<&str>) -> Result<(), Failure> {
    let mut command = Arguments::command();
    command.build();
    if let Some(name) = name {
        let found = command.find_subcommand(name).cloned();
        let title = format!("xbuild-{name}");
        command = found
            .ok_or_else(|| CliError::NoSuchCommand { given: name.to_owned() })?
            .name(title)
            .version(env!("CARGO_PKG_VERSION"));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(CliError::Stdout)?;
    Ok(print(&String::from_utf8_lossy(&page))?)
}
