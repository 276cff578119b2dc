//! Counts lines, words and bytes of every text.

fn main() -> std::io::Result<()> {
    for (name, text) in text::all()? {
        let (lines, words) = (text.lines().count(), text::words(&text).count());
        println!("{name}: {lines} lines, {words} words, {} bytes", text.len());
    }
    println!("counted on {}", std::env::consts::ARCH);
    Ok(())
}
