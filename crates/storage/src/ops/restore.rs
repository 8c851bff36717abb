//! Shows whether a restored database has caught up with the chain.

use domain::address::Address;

use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, query, query_one};

statements! {
    SIGNERS = "select address, next_nonce from signers order by address";
    TIP = "select max(number) as tip from blocks";
}

/// Every signer and its next nonce.
pub async fn signers(session: &impl DbSession) -> Result<Vec<(Address, u64)>, StorageError> {
    let rows = query(session, SIGNERS, &[]).await?;
    rows.iter()
        .map(|row| {
            let reader = RowReader::new(row, "signers", "address");
            let address = Address::from_bytes(reader.bytes::<20>("address")?)
                .map_err(|error| reader.corrupt("address", &error))?;
            Ok((address, reader.unsigned("next_nonce")?))
        })
        .collect()
}

/// The last block that the executor ingested.
pub async fn tip(session: &impl DbSession) -> Result<Option<u64>, StorageError> {
    let row = query_one(session, TIP, &[]).await?;
    let tip: Option<i64> = row.try_get("tip")?;
    Ok(tip.and_then(|tip| u64::try_from(tip).ok()))
}
