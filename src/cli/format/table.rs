//! Columns as Go's `text/tabwriter` aligns them, with podman's settings: a cell is
//! at least 12 wide, two spaces between columns.
//!
//! A cell ends with a tab; what follows the last tab of a line is in no column.
//! A column is a run of lines that have a cell there: its width is that of the
//! widest cell of the run, so one line without the column begins a new run.

use std::fmt::Write as _;

const MIN_WIDTH: usize = 12;
const PADDING: usize = 2;

/// Aligns tab-separated lines.
#[must_use]
pub fn align(text: &str) -> String {
    align_with(text, MIN_WIDTH, PADDING)
}

/// Aligns with other settings than podman's lists.
#[must_use]
pub fn align_with(text: &str, min_width: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut writer =
        Writer { lines, min_width, padding, widths: Vec::new(), out: String::with_capacity(text.len() * 2) };
    let end = writer.lines.len();
    writer.format(0, end);
    writer.out
}

struct Writer<'a> {
    lines: Vec<Vec<&'a str>>,
    min_width: usize,
    padding: usize,
    widths: Vec<usize>,
    out: String,
}

impl Writer<'_> {
    /// Prints the lines from `begin` to `end`, whose columns up to here have a width.
    fn format(&mut self, begin: usize, end: usize) {
        let column = self.widths.len();
        let has_cell = |line: &Vec<&str>| column + 1 < line.len();
        let mut printed = begin;
        let mut line = begin;
        while line < end {
            if !has_cell(&self.lines[line]) {
                line += 1;
                continue;
            }
            self.print(printed, line);
            let run = self.lines[line..end].iter().take_while(|line| has_cell(line)).count();
            let widest = self.lines[line..line + run].iter().map(|line| line[column].chars().count()).max();
            self.widths.push((widest.unwrap_or(0) + self.padding).max(self.min_width));
            self.format(line, line + run);
            self.widths.pop();
            line += run;
            printed = line;
        }
        self.print(printed, end);
    }

    fn print(&mut self, begin: usize, end: usize) {
        for index in begin..end {
            let line = &self.lines[index];
            for (column, cell) in line.iter().enumerate() {
                self.out.push_str(cell);
                // The last cell is not padded: it is in no column.
                if column + 1 < line.len() {
                    let width = self.widths.get(column).copied().unwrap_or(0);
                    let _ = write!(self.out, "{:1$}", "", width.saturating_sub(cell.chars().count()));
                }
            }
            if index + 1 < self.lines.len() {
                self.out.push('\n');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_as_tabwriter() {
        let cases = [
            ("", ""),
            ("a\n", "a\n"),
            ("NAME\tVALUE\nx\ty\n", "NAME        VALUE\nx           y\n"),
            ("0123456789abc\tb\nx\ty\n", "0123456789abc  b\nx              y\n"),
            ("a\tb\tc\nlong-long-long\tx\n", "a               b           c\nlong-long-long  x\n"),
            // A line without cells ends the run.
            ("0123456789abc\tb\nplain\nx\ty\n", "0123456789abc  b\nplain\nx           y\n"),
            // Characters count, not bytes.
            ("äöüäöüäöüäöü\tb\nx\ty\n", "äöüäöüäöüäöü  b\nx             y\n"),
            ("a\t\tc\n", "a                       c\n"),
            ("a\t\n", "a           \n"),
        ];
        for (text, expected) in cases {
            assert_eq!(align(text), expected, "{text:?}");
        }
    }
}
