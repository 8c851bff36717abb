//! Checks that a run had its faults: one without them proves nothing.

use testkit::rpc_proxy::{FaultCounts, FaultRates, false_errors};

use crate::ledger::{Violation, ViolationKind};

/// What was wrong with the run itself, not with the product.
pub(super) fn run_violation(subject: &str, text: &str) -> Violation {
    Violation::new(ViolationKind::Run, subject, text)
}

/// A run without faults proves nothing. One in ten may be missed: a kill point that nothing reached, or a pool without
/// transactions to drop.
pub(super) fn too_few_faults(not_done: usize, planned: usize) -> Option<Violation> {
    (not_done * 10 > planned)
        .then(|| run_violation("faults", &format!("{not_done} of {planned} were not done")))
}

/// The same for the faults on the way to the node. A kind of which seven or more were expected and none was made is a
/// violation. False errors, which only transactions meet, must have been given in any case, and all of them in a full
/// run: they are given in turn.
pub(super) fn missing_rpc_faults(
    asked: &FaultRates,
    made: &FaultCounts,
    is_full_run: bool,
) -> Vec<Violation> {
    let expected = |per_mille: u32| u64::from(per_mille) * made.requests / 1000;
    let texts = false_errors::ALL.len() as u64;
    let not_given = (is_full_run && asked.false_error > 0 && (1..texts).contains(&made.false_errors))
        .then(|| format!("only {} of {texts} false errors were given", made.false_errors));
    let missing = [
        (
            "requests lost",
            expected(asked.lose_request) >= 7,
            made.lost_requests,
        ),
        (
            "answers lost",
            expected(asked.lose_answer) >= 7,
            made.lost_answers,
        ),
        ("refusals", expected(asked.refuse) >= 7, made.refused),
        ("delays", expected(asked.delay) >= 7, made.delayed),
        ("false errors", asked.false_error > 0, made.false_errors),
    ]
    .into_iter()
    .filter(|(_, due, count)| *due && *count == 0)
    .map(|(what, ..)| format!("no {what} among {} RPC calls", made.requests));
    missing
        .chain(not_given)
        .map(|text| run_violation("faults", &text))
        .collect()
}

pub(super) fn rpc_faults(made: &FaultCounts) -> Vec<(&'static str, u64)> {
    [
        ("rpc requests lost", made.lost_requests),
        ("rpc answers lost", made.lost_answers),
        ("rpc calls lost without a sign", made.lost_silently),
        ("rpc refusals", made.refused),
        ("rpc delays", made.delayed),
        ("false rpc errors", made.false_errors),
        ("rpc calls cut off", made.cut_off),
        ("outdated rpc answers", made.behind),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_its_faults_fails() {
        assert!(too_few_faults(1, 1).is_some(), "the only one");
        assert!(too_few_faults(6, 50).is_some());
        assert!(too_few_faults(5, 50).is_none());
        assert!(too_few_faults(0, 0).is_none(), "a scenario without faults");
    }

    #[test]
    fn a_run_whose_node_made_no_faults_fails() {
        let asked = FaultRates {
            lose_answer: 20,
            false_error: 400,
            ..FaultRates::default()
        };
        let made = |requests, lost_answers, false_errors| FaultCounts {
            requests,
            lost_answers,
            false_errors,
            ..FaultCounts::default()
        };
        let missing = |requests, lost_answers, false_errors| {
            missing_rpc_faults(&asked, &made(requests, lost_answers, false_errors), false)
        };
        assert!(missing(500, 9, 1).is_empty());
        assert!(missing(200, 0, 1).is_empty(), "chance");
        assert_eq!(missing(400, 0, 1).len(), 1);
        assert_eq!(missing(400, 0, 0).len(), 2);
        assert!(missing_rpc_faults(&FaultRates::default(), &made(400, 0, 0), true).is_empty());

        let texts = false_errors::ALL.len() as u64;
        assert_eq!(
            missing_rpc_faults(&asked, &made(500, 9, texts - 1), true).len(),
            1
        );
        assert!(missing_rpc_faults(&asked, &made(500, 9, texts), true).is_empty());
    }
}
