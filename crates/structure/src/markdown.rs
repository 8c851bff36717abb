//! What the rules need of Markdown: code spans, links, headings, and tables.

use std::collections::{BTreeMap, BTreeSet};

/// Lines outside fenced code, with their numbers.
pub fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(_)) => fence = mark,
            (Some(open), Some(close)) if open == close => fence = None,
            (None, None) => return Some((index + 1, line)),
            _ => {}
        }
        None
    })
}

/// What stands in backquotes, also across the lines of a paragraph.
pub fn code_spans(text: &str) -> Vec<(usize, String)> {
    let mut spans = Vec::new();
    let mut open: Option<(usize, String)> = None;
    let mut last = 0;
    for (number, line) in prose(text) {
        if line.trim().is_empty() || number > last + 1 {
            open = None;
        }
        last = number;
        for (index, piece) in line.split('`').enumerate() {
            if index > 0 {
                open = match open.take() {
                    Some(span) => {
                        spans.push(span);
                        None
                    }
                    None => Some((number, String::new())),
                };
            }
            if let Some((_, span)) = &mut open {
                if index == 0 {
                    span.push(' ');
                }
                span.push_str(piece);
            }
        }
    }
    spans
}

/// Where links lead, those that leave the repository left out.
pub fn links(text: &str) -> Vec<(usize, &str)> {
    let mut targets = Vec::new();
    for (number, line) in prose(text) {
        // What stands in backquotes is no link.
        for piece in line.split('`').step_by(2) {
            targets.extend(piece.split("](").skip(1).map(|rest| (number, rest)));
        }
        if line.starts_with('[')
            && let Some((_, rest)) = line.split_once("]: ")
        {
            targets.push((number, rest));
        }
    }
    targets
        .into_iter()
        .filter_map(|(number, rest)| Some((number, rest.split([')', ' ']).next()?)))
        .filter(|(_, target)| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

/// The anchors of a page's headings, made as GitHub makes them, and those that are set by hand.
pub fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        for mark in ["id=\"", "name=\""] {
            let by_hand = line.split(mark).skip(1).filter_map(|rest| rest.split('"').next());
            anchors.extend(by_hand.map(str::to_owned));
        }
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let slug = slug(heading.trim());
        let times = seen.entry(slug.clone()).or_default();
        anchors.insert(if *times == 0 {
            slug
        } else {
            format!("{slug}-{times}")
        });
        *times += 1;
    }
    anchors
}

fn slug(heading: &str) -> String {
    let mut shown = String::new();
    let mut rest = heading;
    // Of a link only its text is shown.
    while let Some((before, after)) = rest.split_once("](") {
        shown.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    shown.push_str(rest);
    shown
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The cells of every row under the table headings that `wanted` chooses.
pub fn column(text: &str, wanted: impl Fn(&str) -> bool) -> Vec<(usize, &str)> {
    let mut cells = Vec::new();
    let mut chosen: Option<Vec<usize>> = None;
    for (number, line) in prose(text) {
        if !line.starts_with('|') {
            chosen = None;
            continue;
        }
        let row: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        match &chosen {
            None => chosen = Some((0..row.len()).filter(|index| wanted(row[*index])).collect()),
            // The line that separates the headings.
            Some(_) if line.chars().all(|c| "|-: ".contains(c)) => {}
            Some(columns) => cells.extend(
                columns
                    .iter()
                    .filter_map(|index| Some((number, *row.get(*index)?))),
            ),
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_spans_may_cross_a_line_and_fences_are_no_prose() {
        let text = "a `one` b `two\nthree` c\n```\n`not`\n```\nan odd ` mark\n\nand `four`\n";
        let spans: Vec<_> = code_spans(text);
        let expected =
            [(1, "one"), (1, "two three"), (8, "four")].map(|(line, span)| (line, span.to_owned()));
        assert_eq!(spans, expected);
    }

    #[test]
    fn links_lead_inside_the_repository() {
        let text = "[a](x.md#y) ![b](pic.png \"t\") [c](https://example.org/x) `[d](no.md)`\n[e]: z.md\n";
        assert_eq!(links(text), [(1, "x.md#y"), (1, "pic.png"), (2, "z.md")]);
    }

    #[test]
    fn anchors_are_made_as_github_makes_them() {
        let text = "# What `make up` does, and why\n## Keys\n## Keys\n## See [the page](x.md)\n<a id=\"own\"></a>\n#no\n";
        let made: Vec<_> = anchors(text).into_iter().collect();
        assert_eq!(
            made,
            [
                "keys",
                "keys-1",
                "own",
                "see-the-page",
                "what-make-up-does-and-why"
            ]
        );
    }

    #[test]
    fn a_column_is_found_by_its_heading() {
        let text = "| a | proof |\n|---|---|\n| 1 | x |\n\nno table\n\n| proof | b |\n|---|---|\n| y | 2 |\n";
        assert_eq!(column(text, |heading| heading == "proof"), [(3, "x"), (9, "y")]);
    }
}
