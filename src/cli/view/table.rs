//! Tables.

use std::borrow::Cow;

use crate::text::visible::line;

/// Formats lines in columns, two spaces apart.
pub(crate) fn columns<const N: usize>(lines: &[[String; N]]) -> String {
    let lines: Vec<[Cow<'_, str>; N]> =
        lines.iter().map(|cells| cells.each_ref().map(|cell| line(cell))).collect();
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for cells in &lines {
        let start = text.len();
        for (cell, width) in cells.iter().zip(&widths) {
            text += cell;
            // Not with the formatter, whose widths end at 65,535, since a name can be of any length.
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.truncate(start + text[start..].trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_take_names_of_any_length_and_content() {
        let long = "x".repeat(70_000);
        let lines = [["A".to_owned(), "B".to_owned()], [long.clone(), "one\ntwo\u{1b}[m".to_owned()]];
        let text = columns(&lines);
        let shown: Vec<&str> = text.lines().collect();
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[0], format!("A{}B", " ".repeat(70_001)));
        assert_eq!(shown[1], format!("{long}  one\\ntwo\\u{{1b}}[m"));
    }
}
