//! The commands about a deposit, under the names that the contract, the queues and the rows give them.

use std::str::FromStr;

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// What the executor is asked to do, in the order of the contract's enum.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, VariantArray, IntoStaticStr, Display, EnumString,
)]
#[strum(const_into_str, serialize_all = "snake_case", parse_err_ty = UnknownCommand, parse_err_fn = UnknownCommand::new)]
pub enum Command {
    /// Deposit the backing of an accepted intent.
    Submit,
    /// Mint for a confirmed payment.
    Execute,
    /// Refund what is escrowed, or drop what was never sent.
    Refund,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a command we ever wrote")]
pub struct UnknownCommand;

impl UnknownCommand {
    const fn new(_: &str) -> Self {
        Self
    }
}

impl Command {
    pub const ALL: [Self; Self::VARIANTS.len()] = crate::variants();

    /// The name in SQL, metrics and logs.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

/// What a signed transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptPurpose {
    Command(Command),
    /// An empty transfer that uses up a missing nonce.
    GapFiller,
}

impl AttemptPurpose {
    const GAP_FILLER: &str = "fill_gap";

    /// The name in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command(command) => command.name(),
            Self::GapFiller => Self::GAP_FILLER,
        }
    }

    /// The command whose items it carries.
    pub const fn command(self) -> Option<Command> {
        match self {
            Self::Command(command) => Some(command),
            Self::GapFiller => None,
        }
    }
}

impl FromStr for AttemptPurpose {
    type Err = UnknownCommand;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name == Self::GAP_FILLER {
            Ok(Self::GapFiller)
        } else {
            name.parse().map(Self::Command)
        }
    }
}

/// The state of a command that the executor has taken from its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum WorkItemState {
    Ready,
    InAttempt,
    Done,
    /// A dead letter waits for a person.
    Parked,
}

impl WorkItemState {
    pub const ALL: [Self; Self::VARIANTS.len()] = crate::variants();

    /// The name in SQL.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// The executor goes on with it by itself.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Ready | Self::InAttempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_commands_and_purposes_parse_back() {
        let stored = ["submit", "execute", "refund"];
        assert_eq!(Command::ALL.map(Command::name), stored);
        for (command, name) in Command::ALL.into_iter().zip(stored) {
            assert_eq!(name.parse(), Ok(command));
            let purpose = AttemptPurpose::Command(command);
            assert_eq!((purpose.name(), purpose.command()), (name, Some(command)));
            assert_eq!(name.parse(), Ok(purpose));
        }
        let filler = AttemptPurpose::GapFiller;
        assert_eq!((filler.name(), filler.command()), ("fill_gap", None));
        assert_eq!("fill_gap".parse(), Ok(filler));
        assert_eq!("fill_gap".parse::<Command>(), Err(UnknownCommand));
        assert_eq!("drop".parse::<AttemptPurpose>(), Err(UnknownCommand));
    }

    #[test]
    fn an_item_is_open_until_it_is_done_or_parked() {
        let found = WorkItemState::ALL.map(|state| (state.name(), state.is_open()));
        let expected = [
            ("ready", true),
            ("in_attempt", true),
            ("done", false),
            ("parked", false),
        ];
        assert_eq!(found, expected);
    }
}
