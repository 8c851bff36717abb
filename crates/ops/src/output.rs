//! Output for the operator: text for people, one JSON document for programs. Colour only on a terminal.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use anyhow::Result;
use serde::Serialize;

use crate::user_error::fix_for;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    Always,
    Never,
}

pub struct Output {
    json: bool,
    color: bool,
    error_color: bool,
}

impl Output {
    pub fn new(json: bool, color: Color) -> Self {
        let wanted = |terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none(),
        };
        Self {
            json,
            color: !json && wanted(std::io::stdout().is_terminal()),
            error_color: wanted(std::io::stderr().is_terminal()),
        }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one result: `value` with `--json`, otherwise the page.
    pub fn show(&mut self, value: &impl Serialize, page: impl FnOnce(&mut TextPage)) -> Result<()> {
        let text = if self.json {
            let mut text = serde_json::to_string_pretty(value)?;
            text.push('\n');
            text
        } else {
            let mut built = TextPage::new(self.color);
            page(&mut built);
            built.text
        };
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        Ok(())
    }

    pub fn error(&self, error: &anyhow::Error) {
        let (what, fix) = (format!("{error:#}"), fix_for(error));
        let text = if self.json {
            serde_json::json!({ "error": what, "fix": fix }).to_string()
        } else {
            let label = paint(self.error_color, Style::Bad, "error:");
            let fix = fix.map_or_else(String::new, |fix| format!("\n  fix: {fix}"));
            format!("{label} {what}{fix}")
        };
        print_note(&text);
    }
}

/// True if the reader of our output closed the pipe, which is no error.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Strong,
    Dim,
    Good,
    Bad,
    Warn,
}

fn paint(color: bool, style: Style, text: &str) -> String {
    let code = match style {
        _ if !color => return text.to_owned(),
        Style::Plain => return text.to_owned(),
        Style::Strong => "1",
        Style::Dim => "2",
        Style::Good => "32",
        Style::Bad => "31",
        Style::Warn => "33",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A page of text output.
pub struct TextPage {
    color: bool,
    text: String,
}

impl TextPage {
    fn new(color: bool) -> Self {
        Self {
            color,
            text: String::new(),
        }
    }

    pub fn line(&mut self, text: impl AsRef<str>) {
        self.styled(Style::Plain, text);
    }

    pub fn styled(&mut self, style: Style, text: impl AsRef<str>) {
        let line = paint(self.color, style, &strip_control(text.as_ref()));
        let _ = writeln!(self.text, "{line}");
    }

    /// Adds text unchanged, for example a body or a command to copy.
    pub fn verbatim(&mut self, text: &str) {
        self.text.push_str(text);
        if !text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    /// Adds a heading after an empty line.
    pub fn section(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.styled(Style::Strong, title);
    }

    pub fn field(&mut self, name: &str, value: impl AsRef<str>) {
        let label = paint(self.color, Style::Dim, &format!("{name:<16}"));
        let _ = writeln!(self.text, "{label} {}", strip_control(value.as_ref()));
    }

    pub fn field_opt(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    /// Adds a table whose columns are as wide as their longest cell. The last column is not padded.
    pub fn table(&mut self, headers: &[&str], rows: &[Vec<String>]) {
        let cleaned: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| strip_control(cell)).collect())
            .collect();
        let width = |column: usize| {
            let cells = cleaned
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells.chain([headers[column].len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..headers.len()).map(width).collect();
        let header: Vec<String> = headers.iter().map(|h| h.to_uppercase()).collect();
        let header = join(&header, &widths);
        self.styled(Style::Dim, header);
        for row in &cleaned {
            let _ = writeln!(self.text, "{}", join(row, &widths));
        }
    }
}

fn join(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(line, "{cell:<width$}  ");
    }
    line.trim_end().to_owned()
}

/// Replaces control characters, so that stored text cannot send escape codes to the operator's terminal.
fn strip_control(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Prints a remark to standard error, since it is not part of the result.
pub fn print_note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_text_cannot_send_escape_codes_to_the_terminal() {
        let mut page = TextPage::new(false);
        page.field("reason", "\u{1b}[31mred\nnext");
        page.table(&["a"], &[vec!["\u{7}x".into()]]);
        assert!(!page.text.contains(['\u{1b}', '\u{7}']), "{:?}", page.text);
    }

    #[test]
    fn columns_line_up() {
        let mut page = TextPage::new(false);
        page.table(
            &["id", "what"],
            &[vec!["1".into(), "x".into()], vec!["1000".into(), "y".into()]],
        );
        assert_eq!(page.text, "ID    WHAT\n1     x\n1000  y\n");
    }
}
