//! Parsing rustc's flags.

/// The processor that flags select. The last one counts.
pub(crate) fn named(flags: &[String]) -> Option<String> {
    let last = codegen(flags).into_iter().rev().find(|(name, _)| name == "target-cpu");
    last.map(|(_, cpu)| cpu.to_owned())
}

/// The names and values of rustc's codegen options: `-Cx=y`, `-C x=y`, `--codegen x=y`, `--codegen=x=y`. rustc accepts
/// `target_cpu` for `target-cpu`; it is normalised to the latter.
pub(crate) fn codegen(flags: &[String]) -> Vec<(String, &str)> {
    let mut options = Vec::new();
    let mut rest = flags.iter().map(String::as_str);
    while let Some(flag) = rest.next() {
        match flag.strip_prefix("-C").or_else(|| flag.strip_prefix("--codegen")) {
            Some("") => options.extend(rest.next()),
            Some(joined) => options.push(joined.trim_start_matches(['=', ' '])),
            None => {}
        }
    }
    let pairs = options.into_iter().filter_map(|option: &str| option.split_once('='));
    pairs.map(|(name, value)| (name.replace('_', "-"), value)).collect()
}
