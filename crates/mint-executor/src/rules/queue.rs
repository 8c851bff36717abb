//! The queue a command comes from, under whose keys it is sealed.

use domain::command::Command;
use messaging::WorkQueue;

pub const fn queue_of(command: Command) -> WorkQueue {
    match command {
        Command::Submit => WorkQueue::MintSubmit,
        Command::Execute => WorkQueue::MintExecute,
        Command::Refund => WorkQueue::MintRefund,
    }
}
