//! docs/STATES.md: diagrams and tables of the two legs, of the decision and of the public status.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use domain::decision::{Decision, DecisionFacts, LiveCommand, decide};
use domain::intent::{Cause, ChainLeg, Finality, PaymentLeg, PublicStatus};

use crate::page::assert_part;

/// The usual way of an intent, of the moves that the chain shows. That each is legal is checked below.
const USUALLY_OBSERVED: [(ChainLeg, ChainLeg); 7] = [
    (ChainLeg::Submitting, ChainLeg::Escrowed),
    (ChainLeg::Executing, ChainLeg::Executed(Finality::Mined)),
    (
        ChainLeg::Executed(Finality::Mined),
        ChainLeg::Executed(Finality::Final),
    ),
    (ChainLeg::Refunding, ChainLeg::Refunded(Finality::Mined)),
    (
        ChainLeg::Refunded(Finality::Mined),
        ChainLeg::Refunded(Finality::Final),
    ),
    (ChainLeg::Escrowed, ChainLeg::Submitting),
    (ChainLeg::Executed(Finality::Mined), ChainLeg::Escrowed),
];

/// A leg's name in a diagram: its name in the history.
fn node(leg: ChainLeg) -> String {
    match leg {
        ChainLeg::Executed(Finality::Final) | ChainLeg::Refunded(Finality::Final) => format!("{leg}_final"),
        other => other.to_string(),
    }
}

fn diagram(arrows: &str) -> String {
    format!("```mermaid\nstateDiagram-v2\n{arrows}```\n")
}

#[test]
fn the_chain_leg_is_drawn_from_its_transitions() {
    let mut arrows = "    [*] --> queued\n".to_owned();
    for from in ChainLeg::ALL {
        for to in ChainLeg::ALL {
            if from.advance(to, Cause::Commanded).is_ok() {
                writeln!(arrows, "    {} --> {}: commanded", node(from), node(to)).unwrap();
            }
        }
    }
    for (from, to) in USUALLY_OBSERVED {
        assert_eq!(from.advance(to, Cause::Observed), Ok(to));
        let label = if to.is_final() {
            "observed final"
        } else if matches!(to, ChainLeg::Submitting | ChainLeg::Escrowed) && from != ChainLeg::Submitting {
            "observed, a fork took it back"
        } else {
            "observed"
        };
        writeln!(arrows, "    {} --> {}: {label}", node(from), node(to)).unwrap();
    }
    for leg in ChainLeg::ALL.into_iter().filter(|leg| leg.is_terminal()) {
        writeln!(arrows, "    {} --> [*]", node(leg)).unwrap();
    }
    let observable: Vec<_> = ChainLeg::ALL
        .into_iter()
        .filter(|to| {
            ChainLeg::ALL
                .iter()
                .all(|from| from.advance(*to, Cause::Observed).is_ok())
        })
        .map(|to| format!("`{}`", node(to)))
        .collect();
    let said = format!(
        "{}\nOnly the usual observations are drawn. Whatever the leg, the chain may show it as any of: {}.\n",
        diagram(&arrows),
        observable.join(", ")
    );
    assert_part("STATES.md", "chain leg", &said);
}

#[test]
fn the_payment_leg_is_drawn_from_its_transitions() {
    let mut arrows = format!("    [*] --> {}\n", PaymentLeg::Awaiting);
    for from in PaymentLeg::ALL {
        for to in PaymentLeg::ALL {
            let label = match (from.may_become(to, false), from.may_become(to, true)) {
                (false, _) => continue,
                (true, true) => "",
                (true, false) => ": until a refund is commanded",
            };
            writeln!(arrows, "    {from} --> {to}{label}").unwrap();
        }
    }
    assert_part("STATES.md", "payment leg", &diagram(&arrows));
}

fn facts(chain: ChainLeg, payment: PaymentLeg) -> DecisionFacts {
    DecisionFacts {
        chain_leg: chain,
        payment_leg: payment,
        mint_refused: false,
        is_held: false,
        deposit_attempted: false,
        mismatch_resolved: false,
        live_command: None,
    }
}

const fn decision_name(decision: Decision) -> &'static str {
    match decision {
        Decision::Wait => "wait",
        Decision::Drop => "drop",
        Decision::Execute => "execute",
        Decision::Refund => "refund",
        Decision::Hold => "hold",
        Decision::Done => "done",
        Decision::OwedToPayer => "owed_to_payer",
        Decision::MintWithoutPayment => "mint_without_payment",
    }
}

/// Each cell of the table, with what `change` makes of it.
fn cells(change: impl Fn(&mut DecisionFacts)) -> impl Iterator<Item = (ChainLeg, PaymentLeg, Decision)> {
    ChainLeg::ALL.into_iter().flat_map(move |chain| {
        let decided: Vec<_> = PaymentLeg::ALL
            .into_iter()
            .map(|payment| {
                let mut facts = facts(chain, payment);
                change(&mut facts);
                (chain, payment, decide(facts))
            })
            .collect();
        decided
    })
}

#[test]
fn the_decision_is_drawn_and_listed_from_its_table() {
    let mut table = "| chain leg |".to_owned();
    for payment in PaymentLeg::ALL {
        write!(table, " {payment} |").unwrap();
    }
    table.push_str("\n|---|---|---|---|---|---|");
    let mut arrows = BTreeMap::<_, Vec<_>>::new();
    let mut last = None;
    for (chain, payment, decision) in cells(|_| {}) {
        if last.replace(chain) != Some(chain) {
            write!(table, "\n| `{}` |", node(chain)).unwrap();
        }
        write!(table, " {} |", decision_name(decision)).unwrap();
        if decision != Decision::Wait {
            let arrow = (node(chain), decision_name(decision));
            arrows.entry(arrow).or_default().push(payment.name());
        }
    }
    let mut graph = String::new();
    for ((chain, decision), payments) in arrows {
        writeln!(
            graph,
            "    {chain}([{chain}]) -- \"{}\" --> {decision}[{decision}]",
            payments.join(", ")
        )
        .unwrap();
    }
    let said = format!(
        "```mermaid\nflowchart LR\n{graph}```\n\nWhere no arrow is drawn, the decision is to wait. The same as a table, \
         without any other fact:\n\n{table}\n\n{}",
        other_facts()
    );
    assert_part("STATES.md", "decision", &said);
}

/// What each further fact changes in the table.
fn other_facts() -> String {
    type Change = fn(&mut DecisionFacts);
    let changes: [(&str, Change); 6] = [
        ("the contract refused the mint, the user is not compliant", |f| {
            f.mint_refused = true;
        }),
        ("an open exception holds the txRef", |f| {
            f.is_held = true;
        }),
        ("a deposit was signed", |f| {
            f.deposit_attempted = true;
        }),
        ("a person resolved the mismatch", |f| {
            f.mismatch_resolved = true;
        }),
        ("an execute is under way", |f| {
            f.live_command = Some(LiveCommand::Execute);
        }),
        ("a refund is under way", |f| {
            f.live_command = Some(LiveCommand::Refund);
        }),
    ];
    let mut out = "| further fact | what it changes |\n|---|---|\n".to_owned();
    for (fact, change) in changes {
        let mut changed = BTreeMap::<_, Vec<_>>::new();
        for ((chain, payment, before), (.., after)) in cells(|_| {}).zip(cells(change)) {
            if before != after {
                let from_to = (node(chain), decision_name(before), decision_name(after));
                changed.entry(from_to).or_default().push(payment.name());
            }
        }
        let changed: Vec<_> = changed
            .into_iter()
            .map(|((chain, before, after), payments)| {
                format!(
                    "`{chain}`, {}: {after} instead of {before}",
                    payments.join(" or ")
                )
            })
            .collect();
        writeln!(out, "| {fact} | {} |", changed.join("; ")).unwrap();
    }
    out
}

#[test]
fn the_public_status_is_listed_from_the_legs() {
    let mut table = "| chain leg | `stage` | `final` | `status` |\n|---|---|---|---|\n".to_owned();
    for leg in ChainLeg::ALL {
        let status = PublicStatus::of(leg).name();
        writeln!(
            table,
            "| `{}` | `{leg}` | {} | `{status}` |",
            node(leg),
            leg.is_final()
        )
        .unwrap();
    }
    assert_part("STATES.md", "public status", &table);
}
