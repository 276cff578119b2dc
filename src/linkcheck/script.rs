//! Scripts, and programs that only start another program.

use super::finding::{Problem, Severity};
use super::obstacle::Obstacle;
use super::{MOST_SCRIPTS, Role, Run, severity_of};
use crate::rootfs::{Lookup, Node, Permission};
use crate::sys::cancel::Cancelled;

/// Programs that start the program in their arguments, each with its options that take no value.
const STARTERS: &[(&str, &[&str])] = &[
    ("env", &["-", "-i", "-0", "--ignore-environment"]),
    ("tini", &["-g", "-s", "-v", "-vv", "-vvv", "-w"]),
    ("tini-static", &["-g", "-s", "-v", "-vv", "-vvv", "-w"]),
    ("dumb-init", &["-c", "--single-child", "-v", "--verbose"]),
    ("catatonit", &["-g", "-P"]),
];

/// The program that a starter's arguments name; `None` if that is not certain.
pub(super) fn started_by<'a>(path: &str, arguments: &'a [String]) -> Option<&'a str> {
    let name = path.rsplit('/').next()?;
    let (_, options) = STARTERS.iter().find(|(known, _)| *known == name)?;
    let mut arguments = arguments.iter().map(String::as_str).peekable();
    while let Some(argument) = arguments.next() {
        match argument {
            "--" => return arguments.next(),
            option if option.starts_with('-') => {
                if !options.contains(&option) {
                    return None;
                }
            }
            assignment if name == "env" && assignment.contains('=') => {}
            program => return Some(program),
        }
    }
    None
}

/// True for a shell.
pub(super) fn is_shell(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some("sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "busybox"))
}

impl Run<'_> {
    /// Checks a script by its first line, after `#!`.
    pub(super) fn script(
        &mut self,
        path: &str,
        node: &Node,
        line: &str,
        role: Role,
        depth: usize,
    ) -> Result<(), Cancelled> {
        let severity = severity_of(role);
        let line = line.trim_matches([' ', '\t']);
        let (interpreter, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if interpreter.is_empty() {
            self.report(path, Problem::NoInterpreter { path: path.to_owned() }, severity);
            return Ok(());
        }
        // The kernel opens the script as the user who starts it, and then the interpreter opens it again.
        if !self.who.may(Permission::Read, node) {
            let user = self.execution.user_name().to_owned();
            let reason = format!("its mode is {:04o}, its owner {}:{}", node.mode, node.uid, node.gid);
            let problem = Problem::NotReadable { path: path.to_owned(), user, reason };
            self.report(path, problem, Some(severity.unwrap_or(Severity::Error)));
        }
        let program = self.execution.absolute(interpreter);
        match self.root.resolve_path(&program, &self.who) {
            Lookup::Found { node, .. } => {
                if let Some(reason) = self.may_execute(node) {
                    let user = self.execution.user_name().to_owned();
                    self.report(path, Problem::NotExecutable { path: program, user, reason }, severity);
                    return Ok(());
                }
            }
            Lookup::Missing { .. } | Lookup::NotADirectory { .. } => {
                let (interpreter, script) = (interpreter.to_owned(), path.to_owned());
                self.report(path, Problem::MissingInterpreter { interpreter, script }, severity);
                return Ok(());
            }
            barrier @ (Lookup::Denied { .. } | Lookup::Circle) => {
                let user = self.execution.user_name().to_owned();
                let reason = Obstacle::Barred(self.barrier(&barrier));
                self.report(path, Problem::NotExecutable { path: program, user, reason }, severity);
                return Ok(());
            }
        }
        if depth >= MOST_SCRIPTS {
            let reason = "its interpreter is a script too, and so on without end".to_owned();
            self.report(path, Problem::BrokenElf { path: path.to_owned(), reason }, severity);
            return Ok(());
        }
        self.executable(&program, role, depth + 1)?;
        if program.rsplit('/').next() == Some("env")
            && let Some(next) = env_argument(argument.trim())
            && let Some(found) = self.resolve(&next, path, severity.unwrap_or(Severity::Error))
        {
            self.executable(&found, role, depth + 1)?;
        }
        Ok(())
    }
}

/// What `env` starts, given the rest of the line, which the kernel passes as one argument.
fn env_argument(argument: &str) -> Option<String> {
    let split = argument.strip_prefix("-S").or_else(|| argument.strip_prefix("--split-string="));
    match split {
        Some(words) => {
            let words: Vec<String> = words.split_whitespace().map(ToOwned::to_owned).collect();
            started_by("env", &words).map(ToOwned::to_owned)
        }
        None if argument.is_empty() || argument.starts_with('-') => None,
        // Without -S the whole argument is one name.
        None => Some(argument.to_owned()),
    }
}
