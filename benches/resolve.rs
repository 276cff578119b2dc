//! Chooses packages as xbuild does, for `benches/apt.sh` to compare with apt:
//! `cargo bench --bench resolve -- ARCHITECTURE STATUS PACKAGES... < SETS`.
//!
//! STATUS is dpkg's database of installed packages, PACKAGES are package indexes in the order of the sources, and each
//! line of SETS is a set of packages to add. For each set it prints a line: `name=version` of all added packages,
//! sorted, or `!` and the reason for a failure.

use std::io::{BufReader, Write as _};

use xbuild::Cancel;
use xbuild::internal::packages::debian::Database;
use xbuild::internal::packages::debian::index::Universe;
use xbuild::internal::packages::debian::resolve::{Request, resolve};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [architecture, status, indexes @ ..] = arguments.as_slice() else {
        eprintln!("usage: cargo bench --bench resolve -- ARCHITECTURE STATUS PACKAGES... < SETS");
        return Ok(());
    };
    let database = Database::of_status(&std::fs::read_to_string(status)?, true);
    let mut universe = Universe::default();
    for index in indexes {
        universe.read("mirror", BufReader::new(std::fs::File::open(index)?), &Cancel::new())?;
    }
    for set in std::io::stdin().lines() {
        let packages: Vec<String> = set?.split_whitespace().map(ToOwned::to_owned).collect();
        let installed = database.installed.as_slice();
        let request = Request { architecture, packages: &packages, installed, ..Request::default() };
        let line = match resolve(&universe, &request, &Cancel::new()) {
            Ok(chosen) => {
                let mut names: Vec<String> =
                    chosen.iter().map(|one| format!("{}={}", one.record.name, one.record.version)).collect();
                names.sort();
                names.join(" ")
            }
            Err(error) => format!("! {error}"),
        };
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}
