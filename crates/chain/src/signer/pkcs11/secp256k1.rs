//! The curve: what a token gives and takes as bytes, turned into the accounts and signatures of the chain.

use domain::address::Address;
use ethers::types::{H256, U256};
use ethers::utils::keccak256;

use crate::convert::from_h160;
use crate::signer::RawSignature;

/// The object identifier of secp256k1, 1.3.132.0.10, in DER.
pub const OBJECT_IDENTIFIER: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
/// An uncompressed point, and the DER header of the octet string around it.
const POINT_LENGTH: usize = 65;
const DER_HEADER: [u8; 2] = [0x04, 0x41];
/// Turns a token's r and s into the form that the chain accepts: s in the lower half, with the recovery bit.
pub fn with_recovery_bit(pair: &[u8], digest: [u8; 32], address: &Address) -> Option<RawSignature> {
    let (r, s) = pair.split_at_checked(32)?;
    let (mut low, order) = ([0; 32], curve_order());
    let s = (s.len() == 32).then(|| U256::from_big_endian(s))?;
    let s = in_lower_half(s, order)?;
    s.to_big_endian(&mut low);
    let signature = |odd_y| RawSignature {
        r: r.try_into().unwrap_or_default(),
        s: low,
        odd_y,
    };
    let is_ours = |signature: &RawSignature| is_signed_by(signature, digest, address);
    [signature(false), signature(true)].into_iter().find(is_ours)
}

/// The chain accepts only one of the two values of s that verify.
fn in_lower_half(s: U256, order: U256) -> Option<U256> {
    if s > order / 2 {
        order.checked_sub(s)
    } else {
        Some(s)
    }
}

fn is_signed_by(signature: &RawSignature, digest: [u8; 32], address: &Address) -> bool {
    let signer = signature.to_ethers().recover(H256(digest));
    signer.ok().and_then(from_h160) == Some(*address)
}

/// The order of the secp256k1 group.
fn curve_order() -> U256 {
    U256([
        0xbfd2_5e8c_d036_4141,
        0xbaae_dce6_af48_a03b,
        0xffff_ffff_ffff_fffe,
        0xffff_ffff_ffff_ffff,
    ])
}

/// The account of a public point; tokens return the point raw or inside a DER octet string.
pub fn address_of(point: &[u8]) -> Option<Address> {
    let point = match point.strip_prefix(&DER_HEADER) {
        Some(inner) if inner.len() == POINT_LENGTH => inner,
        _ => point,
    };
    let coordinates = point
        .strip_prefix(&[0x04])
        .filter(|rest| rest.len() + 1 == POINT_LENGTH)?;
    let hash = keccak256(coordinates);
    Address::from_bytes(hash[12..].try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::{Signer, test_key as key};

    #[tokio::test]
    async fn a_high_s_becomes_the_low_one_and_the_recovery_bit_is_found() {
        for n in 0..20 {
            let digest = keccak256([n]);
            let wanted = key().sign(digest).await.unwrap();
            let mut high = [0; 32];
            (curve_order() - U256::from_big_endian(&wanted.s)).to_big_endian(&mut high);
            for s in [wanted.s, high] {
                let pair = [wanted.r, s].concat();
                assert!(
                    with_recovery_bit(&pair, digest, &key().address()) == Some(wanted),
                    "{n}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_signature_of_another_key_or_another_length_is_refused() {
        let digest = [7; 32];
        let signed = key().sign(digest).await.unwrap();
        let pair = [signed.r, signed.s].concat();
        let other: Address = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC".parse().unwrap();
        assert!(with_recovery_bit(&pair, digest, &other).is_none());
        assert!(with_recovery_bit(&pair, [8; 32], &key().address()).is_none());
        assert!(with_recovery_bit(&pair[..63], digest, &key().address()).is_none());
        assert!(with_recovery_bit(&[], digest, &key().address()).is_none());
    }

    #[test]
    fn the_address_of_a_raw_or_der_wrapped_point() {
        // The public key of the private key 1: the generator.
        let x = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let y = "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";
        let bare = hex::decode(format!("04{x}{y}")).unwrap();
        let wanted: Address = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf".parse().unwrap();
        assert_eq!(address_of(&bare), Some(wanted));
        assert_eq!(
            address_of(&[DER_HEADER.to_vec(), bare.clone()].concat()),
            Some(wanted)
        );
        assert_eq!(address_of(&bare[..64]), None);
        assert_eq!(address_of(&[]), None);
    }
}
