//! RSA with OAEP (RFC 8017, 7.1), of which only the exponentiation is left to a library.
//!
//! The private operation takes the same time for all messages, and whatever is wrong with one is the same error: who
//! could tell these apart would decrypt by asking often enough (Manger's attack).

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd, Resize as _};
use ring::digest::{self, Algorithm};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Shorter keys are no protection; longer ones take too long.
const BITS: std::ops::RangeInclusive<u32> = 1024..=16384;

/// A public key.
#[derive(Clone)]
pub(super) struct RsaPublic {
    modulus: BoxedMontyParams,
    exponent: BoxedUint,
    length: usize,
}

/// A private key.
#[derive(Clone)]
pub(super) struct RsaPrivate {
    modulus: BoxedMontyParams,
    exponent: BoxedUint,
    length: usize,
}

/// The modulus with its length in bytes; nothing where it cannot be one.
fn modulus(bytes: &[u8]) -> Option<(BoxedMontyParams, usize)> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let number = BoxedUint::from_be_slice_vartime(&bytes[zeros..]);
    if !BITS.contains(&number.bits_vartime()) {
        return None;
    }
    let number: Option<Odd<BoxedUint>> = Odd::new(number).into();
    Some((BoxedMontyParams::new(number?), bytes.len() - zeros))
}

impl RsaPublic {
    /// A key of big-endian numbers.
    pub(super) fn new(modulus_bytes: &[u8], exponent: &[u8]) -> Option<Self> {
        let (modulus, length) = modulus(modulus_bytes)?;
        let exponent = BoxedUint::from_be_slice(exponent, 64).ok()?;
        (exponent.bits_vartime() > 1).then_some(Self { modulus, exponent, length })
    }

    /// Encrypts a key.
    pub(super) fn encrypt(&self, hash: &'static Algorithm, message: &[u8]) -> Option<Vec<u8>> {
        let size = hash.output_len();
        let room = self.length.checked_sub(2 * size + 2)?.checked_sub(message.len())?;
        let mut seed = vec![0; size];
        SystemRandom::new().fill(&mut seed).ok()?;
        let mut data = digest::digest(hash, b"").as_ref().to_vec();
        data.resize(size + room, 0);
        data.push(1);
        data.extend_from_slice(message);
        mask(hash, &seed, &mut data);
        mask(hash, &data, &mut seed);
        let encoded = [&[0], seed.as_slice(), &data].concat();
        Some(power(&self.modulus, &self.exponent, &encoded, self.length))
    }
}

impl RsaPrivate {
    /// A key of big-endian numbers.
    pub(super) fn new(modulus_bytes: &[u8], exponent: &[u8]) -> Option<Self> {
        let (modulus, length) = modulus(modulus_bytes)?;
        let exponent = BoxedUint::from_be_slice(exponent, modulus.bits_precision()).ok()?;
        Some(Self { modulus, exponent, length })
    }

    /// Decrypts a key; nothing where the key or what is encrypted is wrong.
    pub(super) fn decrypt(&self, hash: &'static Algorithm, encrypted: &[u8]) -> Option<Vec<u8>> {
        let size = hash.output_len();
        let number = BoxedUint::from_be_slice(encrypted, self.modulus.bits_precision()).ok()?;
        if encrypted.len() != self.length
            || self.length < 2 * size + 2
            || number >= *self.modulus.modulus().as_ref()
        {
            return None;
        }
        let encoded = power(&self.modulus, &self.exponent, encrypted, self.length);
        let (first, rest) = encoded.split_first()?;
        let (seed, data) = rest.split_at(size);
        let (mut seed, mut data) = (seed.to_vec(), data.to_vec());
        mask(hash, &data, &mut seed);
        mask(hash, &seed, &mut data);
        let label = digest::digest(hash, b"");
        let mut wrong = *first;
        for (is, wanted) in data.iter().zip(label.as_ref()) {
            wrong |= is ^ wanted;
        }
        // All of it is looked at, wherever the message begins: zeros, a one, the message.
        let (mut looking, mut start) = (1_u8, 0_usize);
        for (at, byte) in data.iter().enumerate().skip(size) {
            let is_one = u8::from(*byte == 1) & looking;
            let is_other = u8::from(*byte > 1) & looking;
            start |= usize::from(is_one).wrapping_neg() & (at + 1);
            wrong |= is_other;
            looking &= is_one ^ 1;
        }
        wrong |= looking;
        if wrong == 0 { Some(data.split_off(start)) } else { None }
    }
}

/// `base ^ exponent`, as many bytes as the modulus has.
fn power(modulus: &BoxedMontyParams, exponent: &BoxedUint, base: &[u8], length: usize) -> Vec<u8> {
    let base = BoxedUint::from_be_slice_truncated(base, modulus.bits_precision());
    let result = BoxedMontyForm::new(base, modulus).pow(exponent).retrieve();
    let bytes = result.resize(modulus.bits_precision()).to_be_bytes();
    bytes[bytes.len() - length..].to_vec()
}

/// Masks `target` with what MGF1 makes of the seed.
fn mask(hash: &'static Algorithm, seed: &[u8], target: &mut [u8]) {
    for (counter, block) in target.chunks_mut(hash.output_len()).enumerate() {
        let counter = u32::try_from(counter).expect("keys are short");
        let mut context = digest::Context::new(hash);
        context.update(seed);
        context.update(&counter.to_be_bytes());
        for (byte, mask) in block.iter_mut().zip(context.finish().as_ref()) {
            *byte ^= mask;
        }
    }
}
