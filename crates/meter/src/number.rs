//! Counts as metrics have them.

/// Exact up to 2^53, beyond that the last digits do not matter. What is below zero counts as zero.
pub fn number(count: impl TryInto<u128>) -> f64 {
    let count = count.try_into().unwrap_or_default();
    let digit = |shift: u32| u32::try_from((count >> shift) & u128::from(u32::MAX)).map_or(0.0, f64::from);
    [96, 64, 32, 0]
        .into_iter()
        .fold(0.0, |above, shift| above * 4_294_967_296.0 + digit(shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_and_nothing_is_below_zero() {
        let table: [(u128, f64); 5] = [
            (0, 0.0),
            (4_294_967_295, 4_294_967_295.0),
            (4_294_967_296, 4_294_967_296.0),
            (9_007_199_254_740_991, 9_007_199_254_740_991.0),
            (u128::MAX, 3.402_823_669_209_385e38),
        ];
        for (count, expected) in table {
            assert!(
                (number(count) - expected).abs() <= expected * f64::EPSILON,
                "{count}"
            );
        }
        assert!(number(-7_i64).abs() < f64::EPSILON);
        assert!((number(7_usize) - 7.0).abs() < f64::EPSILON);
    }
}
