//! Where requests gather: whoever is free takes everything that waits, so groups grow with the load and an idle
//! gateway never lingers.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

/// Requests that may wait at once; more are answered 503.
const CAPACITY: usize = 8192;
/// Largest group.
pub const MAX_GROUP: usize = 128;

/// The way in.
#[derive(Debug)]
pub struct Door<M> {
    sender: mpsc::Sender<M>,
    receiver: Arc<Mutex<mpsc::Receiver<M>>>,
}

impl<M: Send> Default for Door<M> {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        Self {
            sender,
            receiver: Arc::new(Mutex::new(receiver)),
        }
    }
}

impl<M: Send> Door<M> {
    /// Gives the member back when there is no room, or the door is closed.
    pub fn enter(&self, member: M) -> Result<(), M> {
        self.sender.try_send(member).map_err(|error| match error {
            mpsc::error::TrySendError::Full(member) | mpsc::error::TrySendError::Closed(member) => member,
        })
    }

    /// The next group, or `None` once `closed` and empty.
    pub async fn gather(&self, closed: &CancellationToken) -> Option<Vec<M>> {
        let mut receiver = self.receiver.lock().await;
        let mut group = Vec::new();
        tokio::select! {
            biased;
            taken = receiver.recv_many(&mut group, MAX_GROUP) => (taken > 0).then_some(group),
            () = closed.cancelled() => {
                receiver.close();
                let taken = receiver.recv_many(&mut group, MAX_GROUP).await;
                (taken > 0).then_some(group)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_goes_together_and_nothing_is_lost_at_the_end() {
        let (door, closed) = (Door::default(), CancellationToken::new());
        for n in 0..200 {
            door.enter(n).unwrap();
        }
        closed.cancel();
        assert_eq!(door.gather(&closed).await.unwrap().len(), MAX_GROUP);
        assert_eq!(door.gather(&closed).await.unwrap().len(), 200 - MAX_GROUP);
        assert_eq!(door.gather(&closed).await, None);
        assert_eq!(door.enter(7), Err(7));
    }

    #[tokio::test]
    async fn a_full_door_gives_back() {
        let door = Door::default();
        for n in 0..CAPACITY {
            door.enter(n).unwrap();
        }
        assert_eq!(door.enter(0), Err(0));
    }
}
