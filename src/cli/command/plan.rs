//! `xbuild plan`: what would be done, and why, as text or JSON.

use std::fmt::Write as _;

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::options::BuildOptions;
use crate::cli::view::{json_text, print};
use crate::event::release_lines;
use crate::pipeline;
use crate::plan::{CreatedFrom, Plan, PlatformPlan, StandardLibrary};
use crate::settings::Settings;
use crate::sys::cancel::humantime;
use crate::text::visible::line;

/// Show what a build would do, and why; nothing is built
#[derive(Clone, Debug, Args)]
pub(crate) struct PlanOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    build: BuildOptions,
}

impl Run for PlanOptions {
    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let settings = context.settings(&self.build)?;
        let plan =
            pipeline::plan_only(&settings, context.environment, context.view.reporter(), context.cancel)?;
        context.view.finish();
        let text = if self.json { json_text(&plan) } else { text(&plan, &settings) };
        Ok(print(&text)?)
    }
}

/// The plan as text.
fn text(plan: &Plan, settings: &Settings) -> String {
    let mut text = String::new();
    let programs: Vec<_> = plan.binaries.iter().map(|binary| binary.name.as_str()).collect();
    let created = match plan.created.from {
        CreatedFrom::SourceDateEpoch => "$SOURCE_DATE_EPOCH",
        CreatedFrom::Commit => "the commit's date",
        CreatedFrom::Epoch => "no commit and no $SOURCE_DATE_EPOCH",
    };
    let created_at = plan.annotations.get(crate::oci::annotation::CREATED).map_or("", String::as_str);
    let rows = [
        ("package", format!("{} {}", plan.package, plan.version)),
        ("programs", programs.join(", ")),
        ("profile", plan.profile.clone()),
        ("created", format!("{created_at}  ({created})")),
        ("tags", plan.tags.join(", ")),
        ("platforms", format!("{} ({})", plan.platforms.len(), settings.platforms_origin)),
        ("time limit", humantime(settings.timeout)),
    ];
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        row(&mut text, 0, name, value);
    }
    for output in &plan.outputs {
        row(&mut text, 0, "output", &output.describe());
    }
    for platform in &plan.platforms {
        text.push('\n');
        text += &platform_text(platform);
    }
    text
}

fn platform_text(plan: &PlatformPlan) -> String {
    let mut text = format!("{}\n", plan.platform);
    row(&mut text, 2, "triple", &format!("{}  ({})", plan.target.triple, plan.triple_from));
    row(&mut text, 2, "linker", &format!("{}  ({})", plan.linker.name(), plan.linker_from));
    if let Some(compiler) = &plan.compiler {
        row(&mut text, 2, "compiler", &format!("{}  ({})", compiler.name, compiler.from));
    }
    if let Some(sysroot) = &plan.sysroot {
        row(&mut text, 2, "sysroot", &format!("{sysroot}  ({})", sysroot.from));
        for (at, package) in sysroot.development.iter().enumerate() {
            let name = if at == 0 { "libraries" } else { "" };
            row(&mut text, 2, name, &format!("{} {}  ({})", package.name, package.version, package.why));
        }
    }
    if let (Some(glibc), Some(from)) = (plan.glibc, &plan.glibc_from) {
        row(&mut text, 2, "glibc", &format!("{glibc}  ({from})"));
    }
    if let Some(cpu) = &plan.cpu {
        let promised = plan.target.variant(&plan.platform).is_some_and(|variant| variant.cpu == *cpu);
        let why = if promised { "the platform's" } else { "cargo's flags name it" };
        row(&mut text, 2, "processor", &format!("{cpu}  ({why})"));
    }
    for flag in &plan.processor {
        row(
            &mut text,
            2,
            "processor",
            &format!("more than {} promises: `{}` of {}", plan.platform, flag.flag, flag.from),
        );
    }
    let library = match plan.standard_library {
        StandardLibrary::Installed => "installed",
        StandardLibrary::Rustup => "to be added by rustup, or built from source if the channel lacks it",
    };
    row(&mut text, 2, "std", library);
    row(&mut text, 2, "base", &format!("{}: {}  ({})", plan.base.name, plan.base.content, plan.base_from));
    if let Some(digest) = &plan.base.digest {
        row(&mut text, 2, "", digest);
    }
    for (at, line) in release_lines(&plan.base.releases).iter().enumerate() {
        row(&mut text, 2, if at == 0 { "releases" } else { "" }, line);
    }
    for (at, package) in plan.base.added.iter().enumerate() {
        let name = if at == 0 { "packages" } else { "" };
        row(&mut text, 2, name, &format!("{} {}  ({})", package.name, package.version, package.why));
    }
    for layer in &plan.layers {
        row(&mut text, 2, "layer", &layer.paths.join(", "));
    }
    for (name, words) in [("entrypoint", &plan.image.entrypoint), ("cmd", &plan.image.cmd)] {
        if let Some(words) = words {
            row(&mut text, 2, name, &shell_words::join(words));
        }
    }
    if let Some(user) = &plan.image.user {
        row(&mut text, 2, "user", user);
    }
    text
}

fn row(text: &mut String, indent: usize, name: &str, value: &str) {
    // Writing to a string cannot fail.
    writeln!(text, "{:indent$}{name:<11} {}", "", line(value)).ok();
}
