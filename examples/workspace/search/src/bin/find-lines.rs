//! Prints the lines that have the word given.

use std::process::ExitCode;

fn main() -> std::io::Result<ExitCode> {
    let Some(wanted) = std::env::args().nth(1) else {
        eprintln!("usage: find-lines WORD");
        return Ok(ExitCode::from(2));
    };
    let wanted = wanted.to_lowercase();
    let mut found = false;
    for (name, text) in text::all()? {
        for (number, line) in (1..).zip(text.lines()) {
            if text::words(line).any(|word| word == wanted) {
                println!("{name}:{number}: {line}");
                found = true;
            }
        }
    }
    Ok(if found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
