//! Elliptic curves: agreeing on a secret by the curves of NIST, and the key that follows from it (RFC 7518, 4.6).

use p256::elliptic_curve::point::AffineCoordinates;
use p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use p256::elliptic_curve::{
    AffinePoint, CurveArithmetic, CurveGroup as _, FieldBytes, FieldBytesSize, ProjectivePoint, PublicKey,
    SecretKey,
};
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};

/// One of the curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// By the name that JSON web keys have for it.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521].into_iter().find(|curve| curve.name() == name)
    }

    /// By its object identifier.
    pub(super) fn identified(oid: &[u8]) -> Option<Self> {
        match oid {
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] => Some(Self::P256),
            [0x2b, 0x81, 0x04, 0x00, 0x22] => Some(Self::P384),
            [0x2b, 0x81, 0x04, 0x00, 0x23] => Some(Self::P521),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// Bytes of a coordinate or secret.
    pub(super) fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The secret that the owner of `secret` shares with the owner of the point; nothing where the point is none of the curve.
    pub(super) fn agree(self, secret: &[u8], point: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::P256 => agree::<p256::NistP256>(secret, point),
            Self::P384 => agree::<p384::NistP384>(secret, point),
            Self::P521 => agree::<p521::NistP521>(secret, point),
        }
    }

    /// The point of a secret, uncompressed; nothing where it is no secret.
    pub(super) fn point_of(self, secret: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::P256 => point_of::<p256::NistP256>(secret),
            Self::P384 => point_of::<p384::NistP384>(secret),
            Self::P521 => point_of::<p521::NistP521>(secret),
        }
    }

    /// Whether the bytes are a point of the curve.
    pub(super) fn has(self, point: &[u8]) -> bool {
        match self {
            Self::P256 => PublicKey::<p256::NistP256>::from_sec1_bytes(point).is_ok(),
            Self::P384 => PublicKey::<p384::NistP384>::from_sec1_bytes(point).is_ok(),
            Self::P521 => PublicKey::<p521::NistP521>::from_sec1_bytes(point).is_ok(),
        }
    }

    /// A new secret.
    pub(super) fn generate(self) -> Option<Vec<u8>> {
        let (mut secret, random) = (vec![0; self.size()], SystemRandom::new());
        loop {
            random.fill(&mut secret).ok()?;
            if self == Self::P521 {
                // 521 bits.
                secret[0] &= 1;
            }
            if self.point_of(&secret).is_some() {
                return Some(secret);
            }
        }
    }
}

fn agree<C>(secret: &[u8], point: &[u8]) -> Option<Vec<u8>>
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C> + AffineCoordinates<FieldRepr = FieldBytes<C>>,
{
    let secret = SecretKey::<C>::from_slice(secret).ok()?;
    let point = PublicKey::<C>::from_sec1_bytes(point).ok()?;
    let shared = ProjectivePoint::<C>::from(*point.as_affine()) * secret.to_nonzero_scalar().as_ref();
    Some(shared.to_affine().x().to_vec())
}

fn point_of<C>(secret: &[u8]) -> Option<Vec<u8>>
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
{
    let secret = SecretKey::<C>::from_slice(secret).ok()?;
    let point = secret.public_key();
    Some(point.as_affine().to_sec1_point(false).as_bytes().to_vec())
}

/// The key of `length` bytes, at most 32, that follows from a shared secret.
pub(super) fn derive(secret: &[u8], algorithm: &str, (apu, apv): (&[u8], &[u8]), length: usize) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&1_u32.to_be_bytes());
    context.update(secret);
    for part in [algorithm.as_bytes(), apu, apv] {
        context.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        context.update(part);
    }
    context.update(&u32::try_from(length * 8).expect("a key is short").to_be_bytes());
    context.finish().as_ref()[..length].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    /// RFC 7518, appendix C.
    #[test]
    fn the_example_of_the_standard() {
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let point = [
            vec![4],
            decode("weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ"),
            decode("e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck"),
        ]
        .concat();
        let secret = decode("0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo");
        let ephemeral = [
            vec![4],
            decode("gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0"),
            decode("SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps"),
        ]
        .concat();
        let bob = decode("VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw");
        assert_eq!(Curve::P256.point_of(&secret).unwrap(), ephemeral);
        assert_eq!(Curve::P256.point_of(&bob).unwrap(), point);
        let shared = Curve::P256.agree(&bob, &ephemeral).unwrap();
        let key = derive(&shared, "A128GCM", (b"Alice", b"Bob"), 16);
        assert_eq!(key, decode("VqqN6vgjbSBcIijNcacQGg"));
    }

    #[test]
    fn both_sides_agree_on_every_curve() {
        for curve in [Curve::P256, Curve::P384, Curve::P521] {
            let (one, other) = (curve.generate().unwrap(), curve.generate().unwrap());
            let (point, other_point) = (curve.point_of(&one).unwrap(), curve.point_of(&other).unwrap());
            assert!(curve.has(&point) && point.len() == 1 + 2 * curve.size());
            let shared = curve.agree(&one, &other_point).unwrap();
            assert_eq!(Some(&shared), curve.agree(&other, &point).as_ref());
            assert_eq!(shared.len(), curve.size());
            let mut wrong = point.clone();
            wrong[5] ^= 1;
            assert!(
                !curve.has(&wrong) && curve.agree(&one, &wrong).is_none(),
                "no point of {}",
                curve.name()
            );
            assert_eq!(Curve::named(curve.name()), Some(curve));
        }
    }
}
