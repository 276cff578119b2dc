//! The findings that a project allows, with its reasons.

use super::finding::Finding;
use crate::target::platform::Platform;

/// Findings that are known and accepted. Every field that is set must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The kind of finding: [`super::Problem::check`].
    pub check: Option<String>,
    /// The checked file; `*` stands for any characters.
    pub file: Option<String>,
    /// What is missing or wrong: [`super::Problem::subject`]; `*` stands for any characters.
    pub missing: Option<String>,
    /// The platform; all of them if `None`.
    pub platform: Option<Platform>,
    /// Why they are accepted.
    pub reason: String,
    /// Where it is configured, for messages.
    pub place: String,
}

impl Allowance {
    /// True if it applies to a finding.
    #[must_use]
    pub(crate) fn fits(&self, finding: &Finding) -> bool {
        let subject = finding.problem.subject().unwrap_or_default();
        self.check.as_deref().is_none_or(|check| check == finding.problem.check())
            && self.file.as_deref().is_none_or(|pattern| matches(pattern, &finding.file))
            && self.missing.as_deref().is_none_or(|pattern| matches(pattern, subject))
            && self.platform.as_ref().is_none_or(|platform| *platform == finding.platform)
    }
}

/// Marks the findings that are allowed. Returns for each allowance whether it applied to any.
pub(crate) fn allow(findings: &mut [Finding], allowances: &[Allowance]) -> Vec<bool> {
    let mut used = vec![false; allowances.len()];
    for finding in findings {
        for (allowance, used) in allowances.iter().zip(&mut used) {
            if allowance.fits(finding) {
                *used = true;
                finding.allowed.get_or_insert_with(|| allowance.reason.clone());
            }
        }
    }
    used
}

/// True if a text matches a pattern, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, fits) in [
            ("libcuda.so.1", "libcuda.so.1", true),
            ("libcuda.so.1", "libcuda.so.12", false),
            ("libcuda*", "libcuda.so.1", true),
            ("*.so.1", "libcuda.so.1", true),
            ("/opt/*/lib*.so", "/opt/a/b/libx.so", true),
            ("/opt/*/lib*.so", "/opt/libx.so", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
