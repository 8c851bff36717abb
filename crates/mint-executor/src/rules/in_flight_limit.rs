//! How many transactions of a signer may wait for a block at once. The limit falls fast while the chain does not keep up,
//! so that few of them wait through an hour of high fees, and rises slowly again. Pure.

/// The limit after a new head, between one and `most`. `late` means that a transaction should have been mined by now.
pub fn next_limit(window: u64, most: u64, late: bool) -> u64 {
    let most = most.max(1);
    let window = window.clamp(1, most);
    if late {
        (window / 2).max(1)
    } else {
        window.saturating_add((window / 4).max(1)).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_halves_while_late_and_grows_by_a_quarter_otherwise() {
        let table = [
            (32, 32, true, 16),
            (3, 32, true, 1),
            (1, 32, true, 1),
            (1, 32, false, 2),
            (16, 32, false, 20),
            (30, 32, false, 32),
            (32, 32, false, 32),
            // A lowered setting applies at once.
            (u64::MAX, 32, false, 32),
            (u64::MAX, 32, true, 16),
            (0, 32, true, 1),
            (7, 0, false, 1),
        ];
        for (window, most, late, expected) in table {
            assert_eq!(
                next_limit(window, most, late),
                expected,
                "{window} of {most}, late: {late}"
            );
        }
    }

    #[test]
    fn the_limit_falls_to_one_in_five_late_blocks_and_recovers_in_twenty() {
        let after = |window, late, heads| (0..heads).fold(window, |window, _| next_limit(window, 32, late));
        assert_eq!(after(32, true, 5), 1);
        assert_eq!(after(1, false, 20), 32);
    }
}
