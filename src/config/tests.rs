//! Files as users write them, above all wrong ones.

use std::path::Path;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use super::document::parse_project;
use super::locate::user_file_path;
use super::schema::project_schema;
use super::*;
use crate::error::{ExitCode, Explain};
use crate::origin::Source;
use crate::sys::fs;

fn parse(text: &str) -> Result<Document<ProjectFile>, Error> {
    let (path, shown) = ("/p/xbuild.toml".into(), "xbuild.toml".into());
    parse_project(Source { path, shown, text: text.to_owned(), foreign: false })
}

fn message(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn unknown_keys_are_all_reported_with_their_place_and_the_nearest_key() {
    let text = "platfroms = []\nentrypoint = []\n[image]\nstop_signal = \"SIGINT\"\n[[files]]\nfrom = \"a\"\n\
                to = \"/a\"\nmod = \"0644\"\n[platform.armhf.image]\nusr = \"1\"\nzzz = 1\n";
    let expected = [
        "xbuild.toml:1:1: unknown key `platfroms` (did you mean `platforms`?)",
        "xbuild.toml:2:1: unknown key `entrypoint` (it belongs under `[image]`)",
        "xbuild.toml:4:1: unknown key `stop_signal` (did you mean `stop-signal`?)",
        "xbuild.toml:8:1: unknown key `mod` (did you mean `mode`?)",
        "xbuild.toml:10:1: unknown key `usr` (did you mean `user`?)",
        "xbuild.toml:11:1: unknown key `zzz` (known here: `annotations`, `cmd`, `entrypoint`, `env`, `expose`, \
         `healthcheck`, `labels`, `stop-signal`, `user`, `volumes`, `workdir`)",
    ];
    assert_eq!(message(text).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_projects_file_says_nothing_about_the_machine() {
    // A mirror or a key in a repository would let the repository choose whom its users trust.
    assert!(message("[debian]\nmirror = \"http://x\"").contains("unknown key `mirror`"));
    assert!(message("[debian]\nkeyrings = []").contains("unknown key `keyrings`"));
    assert!(message("cache-dir = \"/x\"").contains("unknown key `cache-dir`"));
}

#[test]
fn wrong_types_and_syntax_have_their_place() {
    assert_eq!(
        message("base = \"scratch\"\nplatforms = \"all\""),
        "xbuild.toml:2:13: invalid type: string \"all\", expected a sequence"
    );
    assert_eq!(
        message("[image]\nenv = { A = 1 }"),
        "xbuild.toml:2:13: invalid type: integer `1`, expected a string"
    );
    assert!(message("base = ").starts_with("xbuild.toml:1:"));
    assert!(message("[[files]]\nfrom = \"a\"").contains("missing field `to`"));
    assert_eq!(parse("on-failure = \"stop\"").unwrap_err().exit_code(), ExitCode::Config);
}

#[test]
fn every_key_of_the_schema_is_accepted_by_the_parser() {
    // The unknown-key check and the parser must agree; this file has every key of every table.
    let text = include_str!("../../docs/xbuild.example.toml");
    let document = parse(text).unwrap();
    let mut missing = Vec::new();
    let value: serde_json::Value = toml::from_str(text).unwrap();
    keys_that_lack(project_schema(), &value, "", &mut missing);
    assert_eq!(missing, [""; 0], "the example lacks these keys");
    assert_eq!(document.value.files.unwrap().len(), 3);
}

/// The schema's keys that are nowhere in `value`.
fn keys_that_lack(
    schema: &serde_json::Value,
    value: &serde_json::Value,
    path: &str,
    missing: &mut Vec<String>,
) {
    let choices = schema["anyOf"].as_array().cloned().unwrap_or_default();
    for schema in std::iter::once(schema).chain(&choices) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            match value.get(key) {
                Some(inner) => keys_that_lack(property, inner, &format!("{path}{key}."), missing),
                None => missing.push(format!("{path}{key}")),
            }
        }
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            // Some keys exclude each other, so one item may lack what another has.
            let lacking = values.iter().map(|value| {
                let mut lacking = Vec::new();
                keys_that_lack(items, value, path, &mut lacking);
                lacking
            });
            missing.extend(
                lacking
                    .reduce(|kept, other| kept.into_iter().filter(|key| other.contains(key)).collect())
                    .unwrap_or_default(),
            );
        }
        if let (Some(other), Some(table)) = (schema.get("additionalProperties"), value.as_object())
            && let Some(first) = table.values().next()
        {
            keys_that_lack(other, first, path, missing);
        }
    }
}

#[test]
fn the_published_schema_is_the_types() {
    let schemas = [
        ("docs/xbuild.schema.json", generate::<ProjectFile>()),
        ("docs/xbuild.user.schema.json", generate::<UserFile>()),
    ];
    for (name, schema) in schemas {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let schema = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if crate::sys::env::Environment::of_process().var("XBUILD_BLESS").is_some() {
            fs::write_atomic(&path, schema.as_bytes(), 0o644).unwrap();
        }
        assert!(
            fs::read_to_string(&path).unwrap_or_default() == schema,
            "{name} is stale: run XBUILD_BLESS=1 cargo test"
        );
    }
}

fn generate<T: JsonSchema>() -> Value {
    // Inlined, so that code that walks it meets no references.
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    without_null(&mut schema);
    schema
}

/// TOML has no null: an optional key is simply not required. Newlines of our source become spaces.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("default") == Some(&Value::Null) {
                object.remove("default");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type") != Some(&Value::from("null")));
            }
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            object.values_mut().for_each(without_null);
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_null),
        _ => (),
    }
}

/// A directory with files.
fn dir(files: &[(&str, &str)]) -> (fs::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(dir.path()).unwrap();
    for (name, text) in files {
        let file = path.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write_atomic(&file, text.as_bytes(), 0o644).unwrap();
    }
    (dir, path)
}

fn bases(project: &Project) -> Vec<String> {
    project.documents.iter().filter_map(|document| Some(document.value.base.clone()?.into_inner())).collect()
}

#[test]
fn the_package_comes_before_its_workspace() {
    let (_keep, root) = dir(&[
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"a\", \"b\"]\nexclude = [\"c\"]\n[workspace.metadata.xbuild]\nbase = \"w\"",
        ),
        ("a/Cargo.toml", "[package]\nname = \"a\"\n[package.metadata.xbuild]\nbase = \"a\""),
        ("a/src/deep/x", ""),
        ("b/Cargo.toml", "[package]\nname = \"b\""),
        ("b/xbuild.toml", "base = \"b\""),
        ("c/Cargo.toml", "[package]\nname = \"c\""),
    ]);
    let find = |dir: &Path| find_project(dir, None, None, None).unwrap();
    assert_eq!(bases(&find(&root.join("a/src/deep"))), ["a", "w"]);
    assert_eq!(find(&root.join("a/src/deep")).manifest_path, root.join("a/Cargo.toml"));
    assert_eq!(bases(&find(&root.join("b"))), ["b", "w"]);
    assert_eq!(bases(&find(&root.join("c"))), [""; 0]);
    assert_eq!(bases(&find(&root)), ["w"]);
    let given = find_project(&root.join("b"), Some(Path::new("../a")), None, None).unwrap();
    assert_eq!(bases(&given), ["a", "w"]);
    let config = find_project(&root, Some(Path::new("a")), None, Some(Path::new("b/xbuild.toml"))).unwrap();
    assert_eq!(bases(&config), ["b"]);
}

#[test]
fn a_fault_in_a_metadata_table_has_its_line_in_cargo_toml() {
    let (_keep, root) =
        dir(&[("Cargo.toml", "[package]\nname = \"a\"\n\n[package.metadata.xbuild]\nbse = \"a\"")]);
    let error = find_project(&root, None, None, None).unwrap_err();
    assert_eq!(error.to_string(), "Cargo.toml:5:1: unknown key `bse` (did you mean `base`?)");
    let snippet = &error.snippets()[0];
    assert_eq!(&snippet.text[snippet.span.clone()], "bse");
}

#[test]
fn two_configurations_in_one_directory_are_refused() {
    let (_keep, root) =
        dir(&[("Cargo.toml", "[package.metadata.xbuild]\nbase = \"a\""), ("xbuild.toml", "")]);
    let error = find_project(&root, None, None, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Cargo.toml:1:19: `[package.metadata.xbuild]` and `xbuild.toml` configure the same package"
    );
    assert_eq!(error.exit_code(), ExitCode::Config);
}

#[test]
fn a_directory_without_a_manifest_is_not_answered_with_what_is_around_it() {
    let (_keep, root) = dir(&[("Cargo.toml", "[package]"), ("examples/x", "")]);
    let error = find_project(&root, Some(Path::new("examples")), None, None).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::NoManifest);
    assert!(error.to_string().ends_with("examples`"), "{error}");
    assert!(error.hint().unwrap().contains("/Cargo.toml` exists"));
    let missing = find_project(&root, None, None, Some(Path::new("none.toml"))).unwrap_err();
    assert_eq!(missing.exit_code(), ExitCode::MissingFile);
}

#[test]
fn the_users_file_is_found_by_the_xdg_rules() {
    use crate::sys::env::Environment;
    let path =
        |variables: &[(&str, &str)]| user_file_path(&variables.iter().copied().collect::<Environment>());
    assert_eq!(path(&[("HOME", "/h")]), Some("/h/.config/xbuild/config.toml".into()));
    assert_eq!(path(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c")]), Some("/c/xbuild/config.toml".into()));
    assert_eq!(
        path(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "relative")]),
        Some("/h/.config/xbuild/config.toml".into())
    );
    assert_eq!(path(&[]), None);
}
