//! `--load`, or `type=docker` without a file: the storage of an engine on this machine.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::engine::{self, Engine, Loadable};
use super::{Fault, Finished, Kind, Opened, OutputWriter, entry};
use crate::event::{Event, Level};
use crate::host::Host;
use crate::oci::{Descriptor, Digest};
use crate::target::platform::Platform;

/// The storage of an engine on this machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct EngineOutput {
    /// Which engine; by default whichever is found.
    pub engine: Option<Engine>,
}

impl Kind for EngineOutput {
    fn is_stored(&self) -> bool {
        false
    }

    fn open(&self, host: Host<'_>) -> Result<Opened, Fault> {
        let engine = engine::find(self.engine, host.environment, host.cancel)?;
        Ok(Opened::Later(Box::new(Load { engine })))
    }

    fn describe(&self, _names: &[String]) -> String {
        format!("{} (container engine)", self.engine.map_or("Docker or podman", Engine::program))
    }
}

/// Loads an image into the engine that was found.
struct Load {
    engine: Engine,
}

impl OutputWriter for Load {
    fn write(
        &self,
        from: &Finished<'_>,
        names: &[String],
        _stdout: &mut dyn Write,
    ) -> Result<Option<Digest>, Fault> {
        let Host { environment, cancel, reporter, .. } = from.host;
        let mut names = names.to_vec();
        if names.is_empty() {
            names.push(from.package.to_lowercase());
        }
        let manifests: Vec<(Platform, Descriptor)> =
            from.images.iter().map(|image| (image.platform.clone(), entry(image))).collect();
        let image = Loadable { layout: from.layout, root: from.index, manifests: &manifests, names: &names };
        let work = from.layout.parent().unwrap_or_else(|| Path::new("/"));
        let loaded = engine::load(self.engine, &image, work, environment, cancel)?;
        let platforms: Vec<String> = loaded.platforms.iter().map(ToString::to_string).collect();
        let text = format!(
            "loaded {} into {}: {}",
            loaded.names.join(", "),
            self.engine.program(),
            platforms.join(", ")
        );
        reporter.report(Event::Note { level: Level::Info, platform: None, text });
        Ok(loaded.id)
    }
}
