//! Prints the longest word of each text, the first one where several are as long.

fn main() -> std::io::Result<()> {
    for (name, text) in text::all()? {
        let longest = text::words(&text).fold(String::new(), |longest, word| {
            if word.chars().count() > longest.chars().count() { word } else { longest }
        });
        println!("{name}: {longest}");
    }
    Ok(())
}
