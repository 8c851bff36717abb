//! Signing keys as an operator sees them, and the state that operators set for each: `signer_admin_states`.

use strum::{Display, EnumString, IntoStaticStr};

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query, query_opt};

/// The state of a key that an operator has set. A key without one is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, Display, EnumString)]
#[strum(const_into_str, serialize_all = "snake_case", parse_err_ty = UnknownSignerState, parse_err_fn = UnknownSignerState::new)]
pub enum SignerAdminState {
    Active,
    /// Signs nothing new; its intents go to other keys once its nonces are final.
    Draining,
    /// Never used again, whoever has it.
    Retired,
}

impl SignerAdminState {
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the states of a signer are active, draining, retired")]
pub struct UnknownSignerState;

impl UnknownSignerState {
    const fn new(_: &str) -> Self {
        Self
    }
}

/// One key that has signed or has a state set by an operator, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerRow {
    pub address: [u8; 20],
    pub admin_state: SignerAdminState,
    pub reason: Option<String>,
    /// An executor holds its lease now.
    pub leased: bool,
    /// `None` for a key that no executor ever held.
    pub next_nonce: Option<u64>,
    /// Transactions without a block.
    pub in_flight: u64,
    /// Transactions in a block that is not final.
    pub not_final: u64,
    /// Open intents that stay with it until its nonces are final.
    pub intents: u64,
}

impl SignerRow {
    /// None of its transactions can still be mined, or mined again after a fork.
    pub const fn is_drained(&self) -> bool {
        self.in_flight == 0 && self.not_final == 0
    }
}

statements! {
    LIST = "\
select coalesce(s.address, o.address) as address, coalesce(o.state, 'active') as state, o.reason,
    coalesce(s.lease_until >= clock_timestamp(), false) as held, s.next_nonce,
    (select count(distinct nonce) from attempts a where a.signer = s.address and a.state = 'signed') as in_flight,
    (select count(*) from attempts a where a.signer = s.address and a.state = 'mined') as not_final,
    (select count(*) from chain_legs l where l.signer = s.address
        and l.leg in ('submitting', 'escrowed', 'executing', 'refunding')) as intents
from signers s full join signer_admin_states o on o.address = s.address
where $1::bytea is null or coalesce(s.address, o.address) = $1
order by 1";
    LOCK = "select state from signer_admin_states where address = $1 for update";
    SET = "\
insert into signer_admin_states (address, state, reason, changed_by) values ($1, $2, $3, $4)
on conflict (address) do update set state = excluded.state, reason = excluded.reason,
    changed_by = excluded.changed_by, changed_at = now()";
}

/// Every known key, or only one.
pub async fn list(session: &impl DbSession, only: Option<&[u8; 20]>) -> Result<Vec<SignerRow>, StorageError> {
    let only = only.map(<[u8; 20]>::as_slice);
    let rows = query(session, LIST, &[&only]).await?;
    let read = |row| {
        let reader = RowReader::new(row, "signers", "list");
        let next: Option<i64> = reader.get("next_nonce")?;
        Ok(SignerRow {
            address: reader.bytes("address")?,
            admin_state: reader.parse("state")?,
            reason: reader.get("reason")?,
            leased: reader.get("held")?,
            next_nonce: next.and_then(|nonce| u64::try_from(nonce).ok()),
            in_flight: reader.unsigned("in_flight")?,
            not_final: reader.unsigned("not_final")?,
            intents: reader.unsigned("intents")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Locks and returns the state that an operator has set; `None` without one.
pub async fn lock(
    tx: &DbTransaction<'_>,
    address: &[u8; 20],
) -> Result<Option<SignerAdminState>, StorageError> {
    let row = query_opt(tx, LOCK, &[&address.as_slice()]).await?;
    row.map(|row| RowReader::new(&row, "signer_admin_states", "state").parse("state"))
        .transpose()
}

pub async fn set(
    tx: &DbTransaction<'_>,
    address: &[u8; 20],
    state: SignerAdminState,
    reason: &str,
    by: &str,
) -> Result<(), StorageError> {
    execute(tx, SET, &[&address.as_slice(), &state.name(), &reason, &by]).await?;
    Ok(())
}
