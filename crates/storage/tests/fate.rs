//! The sums of the database are those of `domain::fate::fate`, whatever the facts are.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::HashMap;

use domain::exception::ExceptionKind;
use domain::fate::{Debt, Fate, FateTotals, Holds, ReceiptFacts, fate};
use domain::intent::{ChainLeg, PaymentLeg};
use storage::{Pool, PoolConfig};
use testkit::{Database, Servers};

/// A row of `exceptions`: kind, whether it names the receipt, whether it is resolved.
type Case = (ExceptionKind, bool, bool);

async fn database() -> (Database, Pool) {
    let database = Servers::shared().unwrap().database().await.unwrap();
    let pool = Pool::new(&PoolConfig::new(database.url().into(), "test")).unwrap();
    (database, pool)
}

fn holds() -> impl Iterator<Item = Holds> {
    (0..16_u8).map(|bits| Holds {
        open: bits & 1 != 0,
        orphan_resolved: bits & 2 != 0,
        mismatch_resolved: bits & 4 != 0,
        unpaid_mint_resolved: bits & 8 != 0,
    })
}

fn every_combination() -> Vec<ReceiptFacts> {
    let mut all = Vec::new();
    for chain_leg in ChainLeg::ALL {
        for payment_leg in PaymentLeg::ALL {
            for debt in Debt::ALL {
                for holds in holds() {
                    for (is_first, has_intent) in [(true, true), (true, false), (false, true), (false, false)]
                    {
                        all.push(ReceiptFacts {
                            is_first,
                            has_intent,
                            chain_leg,
                            payment_leg,
                            debt,
                            holds,
                        });
                    }
                }
            }
        }
    }
    all
}

/// The rows that say these facts. The open hold is `open`.
fn cases(facts: &ReceiptFacts, open: ExceptionKind) -> Vec<Case> {
    let mut cases = match facts.debt {
        Debt::None => Vec::new(),
        Debt::Open => vec![(ExceptionKind::OwedToPayer, true, false)],
        Debt::Resolved => vec![(ExceptionKind::OwedToPayer, true, true)],
        Debt::Void => vec![
            (ExceptionKind::OwedToPayer, true, true),
            (ExceptionKind::AlreadyOwed, true, true),
        ],
    };
    let Holds {
        open: is_held,
        orphan_resolved,
        mismatch_resolved,
        unpaid_mint_resolved,
    } = facts.holds;
    for (kind, is_there, resolved) in [
        (open, is_held, false),
        (ExceptionKind::OrphanPayment, orphan_resolved, true),
        (ExceptionKind::AmountMismatch, mismatch_resolved, true),
        (ExceptionKind::MintWithoutPayment, unpaid_mint_resolved, true),
    ] {
        if is_there {
            cases.push((kind, false, resolved));
        }
    }
    cases
}

/// One txRef, receipt and set of exceptions for each of these facts.
async fn insert(database: &Database, rows: &[(ReceiptFacts, Vec<Case>)]) {
    let (mut decisions, mut payments, mut exceptions) = (Vec::new(), Vec::new(), Vec::new());
    for (n, (facts, cases)) in rows.iter().enumerate() {
        let intent = if facts.has_intent {
            format!("decode(repeat('{:02x}', 32), 'hex')", n % 256)
        } else {
            "null".to_owned()
        };
        let (leg, is_final) = (facts.chain_leg.name(), facts.chain_leg.is_final());
        decisions.push(format!(
            "('T{n}', {intent}, '{leg}', {is_final}, '{}')",
            facts.payment_leg
        ));
        payments.push(format!(
            "('R{n}', 'T{n}', gen_random_uuid(), 1, '254708374149', {}, now())",
            facts.is_first
        ));
        for (kind, names_receipt, resolved) in cases {
            let receipt = if *names_receipt {
                format!("'R{n}'")
            } else {
                "null".to_owned()
            };
            let (at, resolution) = if *resolved {
                ("now()", "'done'")
            } else {
                ("null", "null")
            };
            let (name, holds) = (kind.name(), kind.holds());
            exceptions.push(format!(
                "('{name}', 'T{n}', {receipt}, '', {holds}, {at}, {resolution})"
            ));
        }
    }
    for (columns, rows) in [
        (
            "decisions (tx_ref, intent_id, chain_leg, chain_final, payment_leg)",
            decisions,
        ),
        (
            "payments (receipt, tx_ref, report_id, amount_shillings, phone, is_first, received_at)",
            payments,
        ),
        (
            "exceptions (kind, tx_ref, receipt, detail, is_hold, resolved_at, resolution)",
            exceptions,
        ),
    ] {
        let client = Pool::new(&PoolConfig::new(database.url().into(), "test")).unwrap();
        let client = client.get().await.unwrap();
        for some in rows.chunks(2000) {
            client
                .batch_execute(&format!("insert into {columns} values {}", some.join(", ")))
                .await
                .unwrap();
        }
    }
}

async fn fates(pool: &Pool) -> HashMap<String, Fate> {
    let client = pool.get().await.unwrap();
    let rows = client.query(storage::fate::RECEIPT_FATES, &[]).await.unwrap();
    rows.iter()
        .map(|row| (row.get("receipt"), row.get::<_, &str>("fate").parse().unwrap()))
        .collect()
}

async fn assert_equal(rows: &[(ReceiptFacts, Vec<Case>)]) {
    let (database, pool) = database().await;
    insert(&database, rows).await;
    let found = fates(&pool).await;
    assert_eq!(found.len(), rows.len(), "each receipt has one fate");
    let mut expected = FateTotals::default();
    for (n, (facts, cases)) in rows.iter().enumerate() {
        let wanted = fate(*facts);
        expected.add(wanted, 1);
        assert_eq!(found[&format!("R{n}")], wanted, "{facts:?} {cases:?}");
    }
    let client = pool.get().await.unwrap();
    assert_eq!(storage::fate::totals(&client).await.unwrap(), expected);
    // No intent is stored here.
    assert_eq!(
        storage::fate::totals_beside_intents(&client).await.unwrap(),
        expected
    );
}

#[tokio::test]
async fn the_database_sums_what_the_rule_says_of_every_combination_of_facts() {
    let rows: Vec<_> = every_combination()
        .into_iter()
        .map(|facts| (facts, cases(&facts, ExceptionKind::CommandParked)))
        .collect();
    assert_eq!(rows.len(), 11 * 5 * 4 * 16 * 4);
    assert_equal(&rows).await;
}

#[tokio::test]
async fn every_kind_of_exception_means_to_the_database_what_it_means_to_the_rule() {
    let mut rows = Vec::new();
    for kind in ExceptionKind::ALL {
        for resolved in [false, true] {
            for chain_leg in ChainLeg::ALL {
                for payment_leg in PaymentLeg::ALL {
                    let is = |one| kind == one && resolved;
                    let facts = ReceiptFacts {
                        is_first: true,
                        has_intent: true,
                        chain_leg,
                        payment_leg,
                        debt: match kind {
                            ExceptionKind::OwedToPayer if resolved => Debt::Resolved,
                            ExceptionKind::OwedToPayer => Debt::Open,
                            _ => Debt::None,
                        },
                        holds: Holds {
                            open: kind.holds() && !resolved,
                            orphan_resolved: is(ExceptionKind::OrphanPayment),
                            mismatch_resolved: is(ExceptionKind::AmountMismatch),
                            unpaid_mint_resolved: is(ExceptionKind::MintWithoutPayment),
                        },
                    };
                    rows.push((facts, vec![(kind, true, resolved)]));
                }
            }
        }
    }
    assert_equal(&rows).await;
}

#[tokio::test]
async fn a_payment_without_a_decision_waits_for_its_intent() {
    let (database, pool) = database().await;
    database
        .sql(
            "insert into payments (receipt, tx_ref, report_id, amount_shillings, phone, is_first, received_at) \
             values ('R1', 'T1', gen_random_uuid(), 1, '254708374149', true, now())",
        )
        .unwrap();
    assert_eq!(fates(&pool).await["R1"], Fate::Orphaned);
}
