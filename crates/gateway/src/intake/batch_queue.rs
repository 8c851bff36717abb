//! The queue in which requests wait for a batch: a free worker takes everything that waits, so batches grow with the load
//! and an idle gateway adds no delay.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

/// Maximum number of waiting requests; further requests are answered 503.
const CAPACITY: usize = 8192;
/// Maximum size of a batch.
pub const MAX_BATCH: usize = 128;

/// A queue whose entries are taken in batches.
#[derive(Debug)]
pub struct BatchQueue<M> {
    sender: mpsc::Sender<M>,
    receiver: Arc<Mutex<mpsc::Receiver<M>>>,
}

impl<M: Send> Default for BatchQueue<M> {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        Self {
            sender,
            receiver: Arc::new(Mutex::new(receiver)),
        }
    }
}

impl<M: Send> BatchQueue<M> {
    /// Adds an entry; returns it if the queue is full or closed.
    pub fn push(&self, entry: M) -> Result<(), M> {
        self.sender.try_send(entry).map_err(|error| match error {
            mpsc::error::TrySendError::Full(entry) | mpsc::error::TrySendError::Closed(entry) => entry,
        })
    }

    /// Waits for the next batch. Returns `None` once `closed` is cancelled and the queue is empty.
    pub async fn next_batch(&self, closed: &CancellationToken) -> Option<Vec<M>> {
        let mut receiver = self.receiver.lock().await;
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            taken = receiver.recv_many(&mut batch, MAX_BATCH) => (taken > 0).then_some(batch),
            () = closed.cancelled() => {
                receiver.close();
                let taken = receiver.recv_many(&mut batch, MAX_BATCH).await;
                (taken > 0).then_some(batch)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_entries_form_one_batch_and_closing_loses_none() {
        let (queue, closed) = (BatchQueue::default(), CancellationToken::new());
        for n in 0..200 {
            queue.push(n).unwrap();
        }
        closed.cancel();
        assert_eq!(queue.next_batch(&closed).await.unwrap().len(), MAX_BATCH);
        assert_eq!(queue.next_batch(&closed).await.unwrap().len(), 200 - MAX_BATCH);
        assert_eq!(queue.next_batch(&closed).await, None);
        assert_eq!(queue.push(7), Err(7));
    }

    #[tokio::test]
    async fn a_full_queue_returns_the_entry() {
        let queue = BatchQueue::default();
        for n in 0..CAPACITY {
            queue.push(n).unwrap();
        }
        assert_eq!(queue.push(0), Err(0));
    }
}
