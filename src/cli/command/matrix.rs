//! `xbuild matrix`: the platforms of a project as CI jobs.

use clap::Args;
use serde::Serialize;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::options::BuildOptions;
use crate::cli::view::{print, table};

/// Print the platforms of the project as a CI matrix
#[derive(Clone, Debug, Args)]
pub(crate) struct MatrixOptions {
    /// Print JSON for `fromJSON` of GitHub Actions
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    build: BuildOptions,
}

/// A job of the matrix.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Job {
    /// The platform.
    platform: String,
    /// The target triple.
    triple: String,
    /// A name for the job's artifact, in characters that every CI accepts.
    artifact: String,
    /// A GitHub runner that can build it.
    runner: String,
    /// True if that runner is of the platform.
    native: bool,
}

/// The runner that cross-compiles for platforms without a native runner.
const CROSS_RUNNER: &str = "ubuntu-24.04";

impl Run for MatrixOptions {
    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let settings = context.settings(&self.build)?;
        let jobs: Vec<Job> = settings
            .platforms
            .iter()
            .map(|settings| {
                let target = settings.target.value;
                Job {
                    platform: settings.platform.to_string(),
                    triple: target.triple.clone(),
                    artifact: settings.platform.to_string().replace('/', "-"),
                    runner: target.runner.clone().unwrap_or_else(|| CROSS_RUNNER.to_owned()),
                    native: target.runner.is_some(),
                }
            })
            .collect();
        context.view.finish();
        if self.json {
            // On one line, as a value in $GITHUB_OUTPUT must be.
            let document = serde_json::json!({ "include": jobs });
            return Ok(print(&format!("{document}\n"))?);
        }
        let mut lines = vec![["PLATFORM", "TRIPLE", "ARTIFACT", "RUNNER"].map(str::to_owned)];
        lines.extend(jobs.into_iter().map(|job| {
            let runner = if job.native { job.runner } else { format!("{} (cross)", job.runner) };
            [job.platform, job.triple, job.artifact, runner]
        }));
        Ok(print(&table::columns(&lines))?)
    }
}
