//! `user_daily_totals`: what each user has asked for this UTC day, as far as it was accepted. The row is the lock that makes the limit exact.

use domain::address::Address;
use domain::money::BaseUnits;

use super::idempotency::column;
use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query};

statements! {
    CHARGE_BATCH = "\
insert into user_daily_totals as t (user_address, day, total)
select user_address, (now() at time zone 'utc')::date, amount::numeric
from unnest($1::bytea[], $2::text[]) as c (user_address, amount)
on conflict (user_address, day) do update set total = t.total + excluded.total
returning user_address, total::text as total";

    UNCHARGE_BATCH = "\
update user_daily_totals t set total = t.total - c.amount::numeric
from unnest($1::bytea[], $2::text[]) as c (user_address, amount)
where t.user_address = c.user_address and t.day = (now() at time zone 'utc')::date";

    PURGE = "delete from user_daily_totals where day < (now() at time zone 'utc')::date - 2";
}

/// A user and an amount to charge to the daily limit.
pub type Charge = (Address, BaseUnits);

/// Adds each charge and returns the new totals. Each user at most once, in address order.
pub async fn charge_batch(session: &impl DbSession, charges: &[Charge]) -> Result<Vec<Charge>, StorageError> {
    let rows = query(
        session,
        CHARGE_BATCH,
        &[
            &column(charges, |c| c.0.as_bytes().as_slice()),
            &column(charges, |c| c.1.to_string()),
        ],
    )
    .await?;
    rows.iter()
        .map(|row| {
            let reader = RowReader::new(row, "user_daily_totals", "today");
            let user = Address::from_bytes(reader.bytes("user_address")?)
                .map_err(|e| reader.corrupt("user_address", &e))?;
            Ok((user, reader.parse("total")?))
        })
        .collect()
}

/// Takes back charges of this transaction that were not granted.
pub async fn uncharge_batch(session: &impl DbSession, charges: &[Charge]) -> Result<u64, StorageError> {
    execute(
        session,
        UNCHARGE_BATCH,
        &[
            &column(charges, |c| c.0.as_bytes().as_slice()),
            &column(charges, |c| c.1.to_string()),
        ],
    )
    .await
}

/// Deletes days that no limit depends on any more.
pub async fn purge(session: &impl DbSession) -> Result<u64, StorageError> {
    execute(session, PURGE, &[]).await
}
