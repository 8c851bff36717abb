//! Gates: a watched boolean, true while work may run.

use tokio::sync::watch;

/// Open while all are open. Follows them until the last reader is gone; a gate whose owner is gone stays as it was.
pub fn all(gates: Vec<watch::Receiver<bool>>) -> watch::Receiver<bool> {
    let is_open = |gates: &[watch::Receiver<bool>]| gates.iter().all(|gate| *gate.borrow());
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

async fn changed(gate: &mut watch::Receiver<bool>) {
    if gate.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
