use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::*;

#[test]
fn the_document_is_the_table() {
    crate::test_docs::assert_committed("QUEUES.md", &render());
}

#[test]
fn who_holds_which_pipeline_keys_is_the_table() {
    let mut rendered = "| service | keys of |\n|---|---|\n".to_owned();
    for service in Service::ALL {
        let queues: BTreeSet<_> = service.writes().iter().chain(service.reads()).collect();
        let names: Vec<_> = queues.iter().map(|q| format!("`{}`", q.operation())).collect();
        writeln!(rendered, "| {} | {} |", service.name(), names.join(", ")).unwrap();
    }
    crate::test_docs::assert_part("SEALS.md", "pipeline keys", &rendered);
}

#[test]
fn at_least_once_dead_lettering_has_all_it_needs() {
    // RabbitMQ falls back to at-most-once, silently, where one of these is missing.
    for queue in queues() {
        let arguments: BTreeMap<_, _> = queue.arguments().into_iter().collect();
        assert_eq!(
            arguments["x-overflow"],
            Argument::Text("reject-publish"),
            "{}",
            queue.name
        );
        assert_eq!(
            arguments["x-queue-type"],
            Argument::Text("quorum"),
            "{}",
            queue.name
        );
        let strategy = arguments.get("x-dead-letter-strategy");
        assert_eq!(strategy.is_some(), queue.dead_letter.is_some(), "{}", queue.name);
        assert!(strategy.is_none_or(|s| *s == Argument::Text("at-least-once")));
    }
}

#[test]
fn every_dead_letter_finds_a_queue() {
    let bindings = bindings();
    let bound = |exchange: &str, key: &str| {
        bindings
            .iter()
            .any(|b| b.exchange == exchange && b.routing_key == key)
    };
    for queue in queues() {
        match queue.dead_letter {
            Some((exchange, Some(key))) => assert!(bound(exchange, key), "{}", queue.name),
            // A delay queue keeps the routing key it was given: the name of any work queue.
            Some((exchange, None)) => assert!(WorkQueue::ALL.iter().all(|q| bound(exchange, q.name()))),
            None => assert_eq!(queue.kind, QueueKind::Dead),
        }
    }
}

#[test]
fn limits_are_explicit_and_positive_and_delay_queues_set_no_routing_key() {
    for queue in queues() {
        assert!(queue.delivery_limit > 0 && queue.max_length > 0 && queue.max_bytes > 0);
        let limit = if queue.kind == QueueKind::Work {
            100
        } else {
            1_000_000_000
        };
        assert_eq!(queue.delivery_limit, limit, "{}", queue.name);
        if queue.kind == QueueKind::Delay {
            assert_eq!(queue.dead_letter, Some((WORK_EXCHANGE, None)));
        }
    }
}

#[test]
fn names_are_unique_and_bindings_name_what_exists() {
    let queue_names: BTreeSet<_> = queues().into_iter().map(|q| q.name).collect();
    let exchange_names: BTreeSet<_> = exchanges().into_iter().map(|e| e.name).collect();
    assert_eq!(
        (queue_names.len(), exchange_names.len()),
        (queues().len(), exchanges().len())
    );
    for binding in bindings() {
        assert!(
            queue_names.contains(&binding.queue) && exchange_names.contains(&binding.exchange),
            "{binding:?}"
        );
    }
}

#[test]
fn queue_names_read_back() {
    for queue in WorkQueue::ALL {
        for name in [queue.name(), queue.operation(), queue.dead_letter_name()] {
            assert_eq!(name.parse(), Ok(queue));
        }
    }
    assert!("mint.submit.v2".parse::<WorkQueue>().is_err());
}

fn render() -> String {
    let mut out = String::from(
        "# Queues\n\n\
         Written from `crates/messaging/src/topology/table.rs`; a test compares. Rewrite with \
         `UPDATE_DOCS=1 cargo test -p messaging --lib`.\n\n\
         RabbitMQ 3.10 or later. Everything is durable; every queue is a quorum queue and refuses what does not \
         fit (`x-overflow: reject-publish`), so the publisher's outbox keeps it. `fiatrails topology declare` declares \
         all of it; services only check that it is there.\n",
    );
    render_path(&mut out);
    render_exchanges(&mut out);
    render_queues(&mut out);
    render_permissions(&mut out);
    render_rules(&mut out);
    render_schedule(&mut out);
    out
}

fn render_path(out: &mut String) {
    out.push_str(
        "\n## The way of a message\n\n```\n\
         service --fiatrails.in.<service>--> work queue --> handler\n\
         \x20                                   ^    |  |  \\-- Done: ack\n\
         \x20                                   |    |  \\----- Retry: copy to fiatrails.retry.<attempt>, confirm, ack\n\
         \x20    fiatrails.work <-- expiry -- delay.<n>.v1        (the routing key stays the work queue's name)\n\
         \x20                                        |\n\
         \x20                                        \\-- Park, 6th failure, bad seal: copy to fiatrails.dead, confirm, ack\n\
         \x20                                        \\-- 100 redeliveries: dead-lettered by the broker --> dead.<queue>\n```\n",
    );
}

fn render_exchanges(out: &mut String) {
    out.push_str("\n## Exchanges\n\n| exchange | type | for | bound to |\n|---|---|---|---|\n");
    for exchange in exchanges() {
        let to: Vec<_> = bindings()
            .into_iter()
            .filter(|b| b.exchange == exchange.name)
            .map(|b| format!("`{}`", b.queue))
            .collect();
        let kind = if exchange.fanout { "fanout" } else { "direct" };
        writeln!(
            out,
            "| `{}` | {kind} | {} | {} |",
            exchange.name,
            exchange.purpose,
            to.join(", ")
        )
        .unwrap();
    }
    out.push_str("\nThe routing key of every message is the name of its work queue, on every exchange.\n");
}

fn render_queues(out: &mut String) {
    out.push_str("\n## Queues\n\n| queue | arguments |\n|---|---|\n");
    for queue in queues() {
        let arguments: Vec<_> = queue
            .arguments()
            .into_iter()
            .map(|(name, value)| match value {
                Argument::Text(text) => format!("`{name}: {text}`"),
                Argument::Number(number) => format!("`{name}: {number}`"),
            })
            .collect();
        writeln!(out, "| `{}` | {} |", queue.name, arguments.join(", ")).unwrap();
    }
}

fn render_permissions(out: &mut String) {
    out.push_str(
        "\n## Permissions\n\nOne broker user per service (`rabbitmqctl set_permissions`).\n\n\
         | service | new messages on | consumes | configure | write | read |\n|---|---|---|---|---|---|\n",
    );
    for service in Service::ALL {
        let names = |queues: &[WorkQueue]| {
            let all: Vec<_> = queues.iter().map(|q| q.operation()).collect();
            if all.is_empty() {
                "-".to_owned()
            } else {
                all.join(", ")
            }
        };
        let p = service.permissions();
        let cell = |text: &str| format!("`{}`", text.replace('|', "\\|"));
        let rights = [cell(&p.configure), cell(&p.write), cell(&p.read)].join(" | ");
        writeln!(
            out,
            "| {} | {} | {} | {rights} |",
            service.name(),
            names(service.writes()),
            names(service.reads())
        )
        .unwrap();
    }
    out.push_str(
        "\nA direct exchange knows no permission per routing key, so each service enters by an exchange that is \
         bound only to the queues it may write. The retry and dead exchanges are shared by the two consuming \
         services: a stolen user of one of them could place bytes on a queue of the other, where they fail at \
         the seal and are parked as `seal_invalid`.\n",
    );
}

fn render_rules(out: &mut String) {
    out.push_str(
        "\n## Rules\n\n\
         - **Seal**: every message carries a MAC over everything in it that can matter; how it is made, and who holds \
         the keys, is in [SEALS.md](SEALS.md).\n\
         - **Retry**: at most 6 attempts; the copy after failed attempt n waits in `delay.<n>.v1` by its own \
         `expiration`. Headers of a copy are built anew: a copied `x-death` makes a message vanish.\n\
         - **Redelivery** is never our retry. From 3 redeliveries a message is handled alone, at 20 it is parked \
         as `crash_loop`, at 100 the broker dead-letters it. An orderly return (breaker, shutdown) is \
         `basic.nack`; a crashed handler is `basic.reject`, which newer brokers count as a failure. Since 3.10 \
         counts both, a message that was returned twice goes round by a delay queue instead, with its attempt \
         unchanged.\n\
         - **Unknown key id**: the message goes round by the delay queues for up to 24 h without burning an \
         attempt, then it is parked as `unknown_key`.\n\
         - **Dead entries** carry the sealed message and the headers `x-fr-origin-queue`, `x-fr-class`, \
         `x-fr-text`, `x-fr-first-seen`, `x-fr-failed-at`, `x-fr-attempts`, `x-fr-service`, `x-fr-version`, \
         `x-fr-intent-id`, `x-fr-last-tx-hash`, `x-fr-trace-id`; native dead letters carry RabbitMQ's `x-death`. \
         Browsing hands entries out and takes them back: while one person looks, another may not see them.\n\
         - **A full dead queue** holds its consumers up instead of losing anything; alert on \
         `fiatrails_dlq_depth`.\n\
         - **Depth** over AMQP counts ready messages. Messages on their way to a dead queue (`messages_dlx`) are \
         shown by the management API only: watch \
         `/api/queues?columns=name,messages_ready,messages_unacknowledged,messages_dlx`.\n\
         - **Bodies**: one JSON schema per queue in `docs/schemas/`. A changed shape is a new queue version.\n",
    );
}

/// The waits of one message, by the committed policy.
fn render_schedule(out: &mut String) {
    const COMMITTED: &str = include_str!("../../../../../deploy/policy.json");
    let retry = domain::policy::Policy::load(COMMITTED, []).unwrap().retry;
    let id = "018f0000-0000-7000-8000-000000000001".parse().unwrap();
    write!(
        out,
        "\n## The retry schedule\n\n\
         A message is tried {} times. After failed attempt n, counted from 1, its copy waits so many milliseconds:\n\n\
         ```\n\
         base = min({}, {} * 2^(n-1))\n\
         wait = floor(base * 3/4 + base/2 * u / 2^64)\n\
         ```\n\n\
         where `u` is the first eight bytes, big-endian, of HMAC-SHA256 under the policy's `retry.seed` over \
         `<message id>|<n>`. So waits are spread over 25 % to either side, and yet anybody who knows the seed can \
         compute them beforehand. Only one floor is taken, at the end.\n\n\
         A permanent failure is parked at once. A dependency that is away is none: a breaker stops the consumer, and \
         its messages wait in their queue and burn no attempt. There is one breaker for each command, so an empty treasury stops \
         `mint.submit` and nothing else.\n\n\
         Known answers, seed `{}`, message id `{id}`:\n\n\
         | n | wait, ms |\n|---|---|\n",
        retry.max_attempts, retry.cap_ms, retry.base_ms, retry.seed
    )
    .unwrap();
    for n in retry.steps() {
        writeln!(out, "| {n} | {} |", retry.delay(id, n).as_millis()).unwrap();
    }
}
