//! What the tool says: offenders of what is red, and one line for each rule.

use std::fmt::Write as _;

use serde::Serialize;

use crate::offender::Offender;
use crate::ratchet::Count;
use crate::rules::RULES;

#[derive(Debug, Serialize)]
pub struct Report {
    pub red: bool,
    pub counts: Vec<Count>,
    pub offenders: Vec<Offender>,
}

/// What a reader wants to see.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Tolerated offenders too.
    pub all: bool,
    pub colour: bool,
}

impl Report {
    pub fn new(counts: Vec<Count>, offenders: Vec<Offender>) -> Self {
        Self {
            red: counts.iter().any(Count::is_red),
            counts,
            offenders,
        }
    }

    pub fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for offender in &self.offenders {
            let is_red = self.is_red(offender);
            if is_red || style.all {
                let place = format!("{}:{}", offender.file, offender.line);
                let rule = paint(style, if is_red { "31" } else { "33" }, offender.rule);
                let _ = writeln!(text, "{place}: {rule}: {}", offender.message);
            }
        }
        for rule in RULES {
            let counts: Vec<_> = self
                .counts
                .iter()
                .filter(|count| count.rule == rule.name)
                .collect();
            let found: usize = counts.iter().map(|count| count.found).sum();
            let (mark, after) = if counts.iter().any(|count| count.is_red()) {
                (paint(style, "31", "red  "), list(&counts, Count::is_red))
            } else if counts.iter().any(|count| count.is_loose()) {
                let better = list(&counts, Count::is_loose);
                (
                    paint(style, "32", "ok   "),
                    format!("{better}: `make structure-tighten` keeps it so"),
                )
            } else {
                (paint(style, "32", "ok   "), String::new())
            };
            let space = if after.is_empty() { "" } else { "  " };
            let _ = writeln!(
                text,
                "{mark} {:<16} {found:>4}  {}{space}{after}",
                rule.name, rule.holds
            );
            if counts.iter().any(|count| count.is_red()) {
                let _ = writeln!(text, "      what to do: {}", rule.what_to_do);
            }
        }
        text
    }

    /// Which of the offenders in one part of the tree is the new one, nobody can say: all of them are shown.
    fn is_red(&self, offender: &Offender) -> bool {
        self.counts
            .iter()
            .any(|count| count.is_red() && count.rule == offender.rule && count.group == offender.group)
    }
}

/// `gateway 3 (tolerated: 2)` for each part of the tree that is chosen.
fn list(counts: &[&Count], chosen: impl Fn(&Count) -> bool) -> String {
    counts
        .iter()
        .filter(|count| chosen(count))
        .map(|count| format!("{} {} (tolerated: {})", count.group, count.found, count.tolerated))
        .collect::<Vec<_>>()
        .join(", ")
}

fn paint(style: Style, code: &str, text: &str) -> String {
    if style.colour {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratchet::Ratchet;

    const PLAIN: Style = Style {
        all: false,
        colour: false,
    };

    fn report(tolerated: usize) -> Report {
        let offender =
            |line| Offender::new("circles", "crates/ops/src/lib.rs", line, format!("circle {line}"));
        let offenders = vec![offender(1), offender(2)];
        let ratchet = Ratchet::parse(&format!("[tolerated.circles]\nops = {tolerated}\n")).unwrap();
        Report::new(ratchet.compare(&offenders), offenders)
    }

    #[test]
    fn too_many_are_shown_with_place_rule_and_what_to_do() {
        let report = report(1);
        assert!(report.red);
        let text = report.text(PLAIN);
        assert!(
            text.starts_with("crates/ops/src/lib.rs:1: circles: circle 1\n"),
            "{text}"
        );
        assert!(text.contains("ops 2 (tolerated: 1)"), "{text}");
        assert!(text.contains("what to do: move what both need"), "{text}");
    }

    #[test]
    fn what_is_tolerated_is_shown_on_request_only() {
        let report = report(2);
        assert!(!report.red);
        assert!(!report.text(PLAIN).contains("circle 1"));
        let all = report.text(Style { all: true, ..PLAIN });
        assert!(all.contains("circle 1"), "{all}");
    }

    #[test]
    fn fewer_are_green_with_a_note() {
        let report = report(3);
        assert!(!report.red);
        let text = report.text(PLAIN);
        assert!(
            text.contains("ops 2 (tolerated: 3): `make structure-tighten`"),
            "{text}"
        );
    }

    #[test]
    fn colour_is_for_terminals_only() {
        assert!(!report(1).text(PLAIN).contains('\u{1b}'));
        assert!(
            report(1)
                .text(Style {
                    colour: true,
                    ..PLAIN
                })
                .contains("\u{1b}[31m")
        );
    }
}
