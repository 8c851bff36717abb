use std::time::Duration;

use super::*;
use crate::names::WorkQueue;

fn messages(count: usize) -> Vec<Outgoing> {
    let id = "018f0000-0000-7000-8000-000000000001".parse().unwrap();
    (0..count)
        .map(|_| Outgoing::work(WorkQueue::MintSubmit, id, b"{}".to_vec()))
        .collect()
}

fn window(answers: Vec<ConfirmResult>, returned: &[u64]) -> Vec<PublishResult> {
    let tickets = (1..).take(answers.len()).collect();
    let messages = messages(answers.len());
    let mut window = PublishWindow::new(&messages, "in", tickets);
    window.confirms = answers;
    window.returned = returned.iter().copied().collect();
    window.into_results()
}

fn kinds(outcomes: &[PublishResult]) -> Vec<&'static str> {
    outcomes
        .iter()
        .map(|o| o.as_ref().map_or_else(PublishError::kind, |()| "ok"))
        .collect()
}

#[test]
fn a_return_is_assigned_to_its_own_message() {
    // lapin gave the return of message 2 to the confirm of message 1.
    let outcomes = window(
        vec![ConfirmResult::Acked, ConfirmResult::Acked, ConfirmResult::Nacked],
        &[2],
    );
    assert_eq!(kinds(&outcomes), ["ok", "unroutable", "refused"]);
}

#[test]
fn in_an_incompletely_answered_window_no_ack_counts() {
    let outcomes = window(
        vec![
            ConfirmResult::Acked,
            ConfirmResult::Unanswered("lost".into()),
            ConfirmResult::Nacked,
        ],
        &[],
    );
    assert_eq!(kinds(&outcomes), ["unknown", "unknown", "refused"]);
}

#[test]
fn a_return_that_matches_no_message_fails_the_window() {
    assert_eq!(
        kinds(&window(vec![ConfirmResult::Acked, ConfirmResult::Acked], &[0])),
        ["unknown", "unknown"]
    );
}

#[test]
fn an_oversized_message_does_not_affect_its_neighbours() {
    assert_eq!(
        kinds(&window(
            vec![ConfirmResult::Acked, ConfirmResult::TooLarge(1)],
            &[]
        )),
        ["ok", "too_large"]
    );
}

#[test]
fn properties_are_persistent_and_carry_nothing_foreign() {
    let mut message = messages(1).remove(0);
    message.expiration = Some(Duration::from_millis(610));
    let properties = message.properties(7);
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(properties.expiration().as_ref().unwrap().as_str(), "610");
    assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "7");
    assert!(properties.headers().as_ref().unwrap().inner().is_empty());
}
