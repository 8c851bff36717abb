//! Errors, classified by what the caller can do about them.

use std::error::Error;

use tokio_postgres::error::SqlState;

/// The cause, for logs only; never shown to an API client.
pub type Source = Box<dyn Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Nothing happened. Try later; until then open a breaker.
    #[error("the database is not available: {what}")]
    Unavailable {
        what: &'static str,
        #[source]
        source: Option<Source>,
    },
    /// Nothing happened: someone else was first. Run the transaction again, or answer accordingly.
    #[error("conflict: {0}")]
    Conflict(ConflictKind),
    /// The commit was sent and not answered: it may or may not have happened. Claim neither; look again.
    #[error("the outcome of a commit is unknown")]
    CommitUnknown {
        #[source]
        source: Option<Source>,
    },
    /// A row holds a value that our code never writes. Do not act on it.
    #[error("{table}.{column} of {id} is corrupt: {problem}")]
    Corrupt {
        table: &'static str,
        column: &'static str,
        id: String,
        problem: String,
    },
    /// Our own fault: a wrong statement, a missing right, a broken invariant. Trying again does not help.
    #[error("a statement was refused: {what}")]
    Bug {
        what: String,
        #[source]
        source: Option<Source>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConflictKind {
    /// A row with this key is already there; the name is the constraint's.
    #[error("{0} is taken")]
    Unique(String),
    /// Another transaction held a lock longer than the lock time-out.
    #[error("a lock is held by another transaction")]
    Lock,
    #[error("deadlock")]
    Deadlock,
    #[error("serialization failure")]
    Serialization,
    /// A guarded update found another version than the one it was decided on.
    #[error("{0} changed meanwhile")]
    Stale(&'static str),
}

impl StorageError {
    /// A guarded statement touched other rows than it must.
    pub fn stale(what: &'static str) -> Self {
        Self::Conflict(ConflictKind::Stale(what))
    }

    pub fn bug(what: impl Into<String>) -> Self {
        Self::Bug {
            what: what.into(),
            source: None,
        }
    }

    /// The whole transaction may simply be run again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Conflict(contention) => !matches!(contention, ConflictKind::Unique(_)),
            Self::CommitUnknown { .. } | Self::Corrupt { .. } | Self::Bug { .. } => false,
        }
    }

    /// A bounded label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Conflict(_) => "conflict",
            Self::CommitUnknown { .. } => "commit_unknown",
            Self::Corrupt { .. } => "corrupt",
            Self::Bug { .. } => "bug",
        }
    }

    /// The name of the violated unique constraint.
    pub fn unique_constraint(&self) -> Option<&str> {
        match self {
            Self::Conflict(ConflictKind::Unique(name)) => Some(name),
            _ => None,
        }
    }

    /// Classifies the error of a commit: one that the server refused did not happen, every other result is unknown.
    pub(crate) fn of_commit(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code) if !ends_the_session(code) => Self::from(error),
            _ => Self::CommitUnknown {
                source: Some(error.into()),
            },
        }
    }
}

impl From<tokio_postgres::Error> for StorageError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(code) = error.code().cloned() else {
            return without_code(error);
        };
        let constraint = error
            .as_db_error()
            .and_then(|e| e.constraint())
            .unwrap_or("a unique key");
        match code {
            SqlState::UNIQUE_VIOLATION => Self::Conflict(ConflictKind::Unique(constraint.to_owned())),
            SqlState::LOCK_NOT_AVAILABLE => Self::Conflict(ConflictKind::Lock),
            SqlState::T_R_DEADLOCK_DETECTED => Self::Conflict(ConflictKind::Deadlock),
            SqlState::T_R_SERIALIZATION_FAILURE => Self::Conflict(ConflictKind::Serialization),
            SqlState::QUERY_CANCELED => Self::Unavailable {
                what: "a statement ran out of time",
                source: Some(error.into()),
            },
            code if ends_the_session(&code) || code.code().starts_with("53") => Self::Unavailable {
                what: "the server ended the session",
                source: Some(error.into()),
            },
            _ => Self::Bug {
                what: error
                    .as_db_error()
                    .map_or_else(String::new, |e| e.message().to_owned()),
                source: Some(error.into()),
            },
        }
    }
}

/// Connection failures, operator interventions and time-outs that close the session; also a server that turned
/// read-only (a failed-over primary).
fn ends_the_session(code: &SqlState) -> bool {
    let text = code.code();
    text.starts_with("08") || text.starts_with("57P") || text == "25P03" || text == "25006" || text == "58030"
}

fn without_code(error: tokio_postgres::Error) -> StorageError {
    let io = error.source().is_some_and(<dyn Error>::is::<std::io::Error>);
    if error.is_closed() || io {
        StorageError::Unavailable {
            what: "the connection broke",
            source: Some(error.into()),
        }
    } else {
        StorageError::Bug {
            what: "the statement does not fit its parameters".into(),
            source: Some(error.into()),
        }
    }
}
