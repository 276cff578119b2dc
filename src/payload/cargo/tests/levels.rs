//! Several platforms with one triple: each has a cargo process of its own.

use super::*;

/// The same target for better processors.
fn for_level(level: &str, linker: Linker) -> Unit {
    Unit { platform: format!("linux/amd64/{level}").parse().unwrap(), ..unit(AMD64, linker) }
}

#[test]
fn levels_of_processors_go_apart_and_each_is_told_and_tells_its_own() {
    let script = format!(
        "say() {{ echo '{{\"kept\":\"remark\",\"tool\":\"zig\",\"triple\":\"'$1'\",\"argument\":\"'$2'\",\"reason\":\"r\"}}' \
         >> \"$XBUILD_REMARKS\"; }}\n\
         case \"$*\" in\n*x86-64-v3*) artifact {AMD64} x86-64-v3/; say {AMD64} -v3; say {ARM64} -other; level=3;;\n\
         *) artifact {AMD64}; artifact {ARM64}; say {AMD64} -all; level=1;;\nesac\n\
         echo \"$XBUILD_RUSTC\" > \"$here/rustc-$level\""
    );
    // In either order: neither may hide the other.
    for turned in [false, true] {
        let mut units =
            vec![unit(AMD64, Linker::Zig), unit(ARM64, Linker::Zig), for_level("v3", Linker::Zig)];
        if turned {
            units.reverse();
        }
        let fake = Fake::new(&script, units);
        let kept = Recorded::default();
        let outcome = fake.run_with(&Cancel::new(), &kept).unwrap();
        assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
        assert_eq!(fake.calls().len(), 2);
        for (level, cpu) in [("1", None), ("3", Some("-Ctarget-cpu=x86-64-v3"))] {
            let text = fs::read_to_string(fake.dir.path().join(format!("rustc-{level}"))).unwrap();
            let rustc: crate::toolchain::driver::rustc::Rustc = serde_json::from_str(&text).unwrap();
            let told = |triple: &str| rustc.targets[triple].iter().find(|flag| flag.contains("target-cpu"));
            assert_eq!(told(AMD64).map(String::as_str), cpu, "{level}: {rustc:?}");
            // What build scripts compile for other targets is linked, too.
            assert!(rustc.targets[ARM64].last().unwrap().starts_with("-Clinker="), "{rustc:?}");
        }
        let notes = kept.0.lock().unwrap();
        let mut said: Vec<(String, &str)> = notes
            .iter()
            .filter_map(|event| match event {
                Event::Note { platform: Some(platform), text, level: Level::Detail } => Some((
                    platform.to_string(),
                    text.strip_prefix("zig is not passed `")?.strip_suffix("`: r")?,
                )),
                _ => None,
            })
            .collect();
        said.sort_unstable();
        let name = |name: &str| format!("linux/{name}");
        assert_eq!(said, [(name("amd64"), "-all"), (name("amd64/v3"), "-v3"), (name("arm64"), "-other")]);
    }
}

#[test]
fn a_level_whose_time_is_over_is_named_as_it_was_asked_for() {
    let script = format!("case \"$*\" in\n*x86-64-v3*) sleep 60;;\n*) artifact {AMD64};;\nesac");
    let slow = Unit { limit: Some(Duration::from_millis(300)), ..for_level("v3", Linker::Configured) };
    let fake = Fake::new(&script, vec![unit(AMD64, Linker::Configured), slow]);
    let outcome = fake.run();
    let (unit, error) = &outcome.failures[0];
    assert_eq!((*unit, outcome.failures.len(), outcome.artifacts.len()), (1, 1, 1));
    assert!(error.to_string().starts_with("linux/amd64/v3 did not finish within 300ms"), "{error}");
}
