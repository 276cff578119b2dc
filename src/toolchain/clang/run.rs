//! The implementation of a wrapper's script: `xbuild __clang SPEC TOOL ARGUMENTS…`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::arguments::{Purpose, leading, translate};
use super::data::ClangData;
use super::wrapper::Spec;
use crate::sys::env::{self, Environment};
use crate::sys::fs;
use crate::sys::process::Command;
use crate::toolchain::driver::lld::replaced_by;
use crate::toolchain::driver::neutral::{map, project_maps};
use crate::toolchain::driver::response;
use crate::toolchain::driver::run::{Call, Error, append, on_host, refuse_native};
use crate::toolchain::driver::translate::Remark;
use crate::toolchain::driver::work::Note;

/// The hidden command with which the programs are called as this wrapper.
pub(crate) const COMMAND: &str = "__clang";

/// The names in programs for the sysroot and for Clang's own directory, if their C code includes headers.
const SYSROOT_NAME: &str = "/sysroot";
const RESOURCES_NAME: &str = "/clang";

/// Replaces this process with Clang or an archiver. Returns only if that fails, or after a call with many arguments.
pub(crate) fn run(arguments: Vec<OsString>, environment: &Environment) -> Result<u8, Error> {
    let mut arguments = arguments.into_iter();
    let (Some(path), Some(tool)) = (arguments.next(), arguments.next()) else { return Err(Error::Usage) };
    let path = PathBuf::from(path);
    let spec: Spec = serde_json::from_slice(&fs::read(&path)?)?;
    if spec.host {
        let (triple, root, arguments) = (&spec.triple, spec.root(), arguments.as_slice());
        let call = Call { triple, spec: &path, root: Some(&root), tool: &tool, arguments };
        if let Some(result) = on_host(&call, environment) {
            return result;
        }
    }
    match tool.to_str() {
        Some("ar") => Err(Command::new(&spec.ar).args(arguments).exec().into()),
        Some("ranlib") => Err(Command::new(&spec.ranlib).args(arguments).exec().into()),
        _ => compile(&spec, &tool, arguments.collect(), environment),
    }
}

fn compile(
    spec: &Spec,
    tool: &OsStr,
    arguments: Vec<OsString>,
    environment: &Environment,
) -> Result<u8, Error> {
    let read = |path: &OsStr| fs::read(Path::new(path));
    let arguments = response::expand(arguments, &read)?;
    if !spec.native {
        refuse_native(&arguments)?;
    }
    // The real path is mapped, even if the directory was reached through links.
    let dir = env::current_dir()?;
    let (arguments, remarks) = told(spec, tool, &arguments, &project_maps(environment, &dir))?;
    append(&Note::remarks("clang", &spec.triple, &remarks), environment)?;
    replaced_by(&command(spec).env("PWD", dir), arguments)
}

/// What Clang is told in place of `arguments`, and what it is not told. `maps` are the arguments that give the project's
/// directories other names.
pub(super) fn told(
    spec: &Spec,
    tool: &OsStr,
    arguments: &[OsString],
    maps: &[OsString],
) -> Result<(Vec<OsString>, Vec<Remark>), Error> {
    let translation = translate(arguments, spec)?;
    let mut all = leading(spec, tool, &translation);
    if matches!(translation.purpose, Purpose::Compile | Purpose::Both) {
        all.extend(maps.iter().cloned());
        all.extend(own_maps(spec));
    }
    all.extend(translation.arguments);
    Ok((all, translation.remarks))
}

/// Clang without what this machine's user sets for compilers.
pub(super) fn command(spec: &Spec) -> Command {
    ClangData::get().unset.iter().fold(Command::new(&spec.clang), Command::env_remove)
}

/// Arguments that keep the paths of the sysroot and of Clang's headers out of objects (`__FILE__`, debug information).
fn own_maps(spec: &Spec) -> Vec<OsString> {
    let mut maps = vec![map(&spec.sysroot, SYSROOT_NAME)];
    maps.extend(spec.resources.as_ref().map(|resources| map(resources, RESOURCES_NAME)));
    maps
}
