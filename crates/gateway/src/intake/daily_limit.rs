//! How much each user of a batch asks for, and what of it is too much.

use std::collections::{BTreeMap, HashMap};

use domain::address::Address;
use domain::money::BaseUnits;
use storage::StorageError;

use super::submission::SealedIntent;

/// The index and intent of a submission that is still pending.
pub type PendingEntry<'a> = (usize, &'a SealedIntent);

/// The total amounts of these submissions, by user.
pub fn totals(pending: &[PendingEntry<'_>]) -> Result<BTreeMap<Address, BaseUnits>, StorageError> {
    let mut totals: BTreeMap<Address, BaseUnits> = BTreeMap::new();
    for (_, sealed) in pending {
        let total = totals.entry(sealed.intent.preimage.user).or_default();
        *total = total
            .checked_add(sealed.intent.preimage.amount)
            .ok_or_else(overflow)?;
    }
    Ok(totals)
}

/// The submissions that exceed the daily limit, given what each user had spent before this batch.
pub fn over_the_limit<'a>(
    pending: &[PendingEntry<'a>],
    mut spent: HashMap<Address, BaseUnits>,
    limit: BaseUnits,
) -> Result<Vec<PendingEntry<'a>>, StorageError> {
    let mut over = Vec::new();
    for (index, sealed) in pending {
        let Some(spent) = spent.get_mut(&sealed.intent.preimage.user) else {
            continue;
        };
        let total = spent
            .checked_add(sealed.intent.preimage.amount)
            .ok_or_else(overflow)?;
        if total > limit {
            over.push((*index, *sealed));
        } else {
            *spent = total;
        }
    }
    Ok(over)
}

fn overflow() -> StorageError {
    StorageError::bug("a day's total does not fit")
}
