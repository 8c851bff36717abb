//! Gates: a watched boolean that is true while work may run.

use tokio::sync::watch;

type Gate = watch::Receiver<bool>;

/// A gate that is open while all of `gates` are open. It follows them until its last receiver is dropped. A gate whose
/// sender was dropped keeps its last value.
pub fn all(gates: Vec<Gate>) -> Gate {
    follow(gates, |gates| gates.iter().all(|gate| *gate.borrow()))
}

/// A gate that is open while at least one of `gates` is open; otherwise like [`all`].
pub fn any(gates: Vec<Gate>) -> Gate {
    follow(gates, |gates| gates.iter().any(|gate| *gate.borrow()))
}

fn follow(gates: Vec<Gate>, is_open: fn(&[Gate]) -> bool) -> Gate {
    let (sender, receiver) = watch::channel(is_open(&gates));
    let mut gates = gates;
    tokio::spawn(async move {
        loop {
            let changes = gates.iter_mut().map(|gate| Box::pin(changed(gate)));
            tokio::select! {
                _ = futures_util::future::select_all(changes) => {}
                () = sender.closed() => return,
            }
            sender.send_if_modified(|open| {
                let next = is_open(&gates);
                std::mem::replace(open, next) != next
            });
        }
    });
    receiver
}

async fn changed(gate: &mut Gate) {
    if gate.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn open_while_one_is() {
        let (a, b) = (watch::Sender::new(false), watch::Sender::new(true));
        let mut either = any(vec![a.subscribe(), b.subscribe()]);
        assert!(*either.borrow());
        b.send_replace(false);
        either.wait_for(|open| !open).await.unwrap();
        a.send_replace(true);
        either.wait_for(|open| *open).await.unwrap();
    }

    #[tokio::test]
    async fn open_only_while_all_are() {
        let (a, b) = (watch::Sender::new(true), watch::Sender::new(false));
        let mut both = all(vec![a.subscribe(), b.subscribe()]);
        assert!(!*both.borrow());
        b.send_replace(true);
        both.wait_for(|open| *open).await.unwrap();
        a.send_replace(false);
        both.wait_for(|open| !open).await.unwrap();
        drop(b);
        a.send_replace(true);
        both.wait_for(|open| *open).await.unwrap();
    }
}
