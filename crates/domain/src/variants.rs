//! Every variant of an enum, in the order of its definition.

use strum::VariantArray;

/// The variants as an array, which constants can be built from. `N` is their number: any other does not compile.
pub const fn variants<T: VariantArray + Copy, const N: usize>() -> [T; N] {
    assert!(T::VARIANTS.len() == N, "the array must hold every variant");
    match T::VARIANTS.first_chunk() {
        Some(all) => *all,
        None => panic!("the array must hold every variant"),
    }
}
