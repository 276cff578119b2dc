//! The findings of `xbuild verify`.

use std::path::Path;

use serde_json::Value;

use super::command::xbuild;
use super::json;

/// The report about an image.
pub(crate) fn verdict(image: &Path) -> Value {
    let finished = xbuild().arg("verify").arg(image).words("--strict --json").run();
    json(&finished.stdout)
}

/// The kinds of findings that an image has.
pub(crate) fn checks(report: &Value) -> Vec<String> {
    let platforms = report["platforms"].as_array().expect("platforms");
    let lists = std::iter::once(&report["findings"]).chain(platforms.iter().map(|one| &one["findings"]));
    let all = lists.flat_map(|list| list.as_array().expect("findings"));
    all.map(|finding| finding["check"].as_str().expect("a kind").to_owned()).collect()
}
