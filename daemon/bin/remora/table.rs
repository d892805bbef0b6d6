//! A table for a terminal: columns as wide as what they hold.

use crate::paint::Paint;

/// Characters of a cell; longer texts are cut.
const MAX_WIDTH: usize = 60;

/// Rows under a heading. The first columns are texts, the rest numbers, which stand on the right.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    texts: usize,
}

impl Table {
    pub(crate) fn new(heading: Vec<String>, texts: usize) -> Self {
        Self { rows: vec![heading], texts }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        let cut = |cell: String| {
            if cell.chars().count() <= MAX_WIDTH {
                return cell;
            }
            let mut short: String = cell.chars().take(MAX_WIDTH - 3).collect();
            short.push_str("...");
            short
        };
        self.rows.push(cells.into_iter().map(cut).collect());
    }

    pub(crate) fn print(&self, paint: Paint) {
        for (index, line) in self.lines().into_iter().enumerate() {
            println!("{}", if index == 0 { paint.dim(&line) } else { line });
        }
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                if column < self.texts { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stand_left_and_numbers_right() {
        let mut table = Table::new(["method", "calls"].map(str::to_owned).to_vec(), 1);
        table.row(vec!["GET".to_owned(), "12".to_owned()]);
        table.row(vec!["x".repeat(70), "7".to_owned()]);
        let lines = table.lines();
        assert_eq!(lines[1], format!("{:<60}  {:>5}", "GET", "12"));
        assert!(lines[2].starts_with(&"x".repeat(57)) && lines[2].contains("..."), "{lines:?}");
    }
}
