//! The money equation is stated in one wording.

use domain::fate::EQUATION;

use crate::page::text;

#[test]
fn the_pages_state_the_money_equation_as_the_rule_does() {
    for page in ["EXCEPTIONS.md", "RUNBOOK.md", "METRICS.md"] {
        assert!(text(page).contains(EQUATION), "docs/{page} lacks: {EQUATION}");
    }
}
