//! Layers for one and several recipients, and RSA.

use super::curve::Curve;
use super::*;
use crate::image::manifest::media_type;

/// A short key, made for this test.
const RSA_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
MIICeAIBADANBgkqhkiG9w0BAQEFAASCAmIwggJeAgEAAoGBAK/+GY+xEhr3FAfX\n\
7bvraSGLSemzA4R8FxSuLOiJbodzQAbztd14MPYAiT6DFLdL7xE2VFBCChrnmBH1\n\
oeSB3HRAWs4okDJwSwKaWMhWIO+APy5XGT+x987ngtdzM0N0qRM1Vqw9tNU91AYI\n\
NlchTUu1Ful9ish78EquH38BIwzJAgMBAAECgYEArCcIA/n2tu/X5TBAOaE2bnyc\n\
6YCVwUPNJAqYnULKHq8LA4Hj9Wb7pbeyiLaaTg52JUUaxoNC9Tx0EaVQHoE1DdaB\n\
kva8gLZf9hjJIyhEOxT2Wxg2jZ5xM4y2B24UQ5VSf6MHp6KFSNH0gwDmz+4y1veI\n\
/VCRhZCJ3Su9KIq/xd0CQQDgHK9Prjnn29/CfmLctdsNIvAZEozClgUp4mDc6o/2\n\
7lxAWx3I8Z5GKVSlkTvi4uOagvSzK8FQiMQHLyG4ORDXAkEAyQin78986YBLJRIy\n\
ALLUnZfytdXUT7GVKjwjbf0TsSOafY2bCtgN9H6nmqHQBoi0Diq4g1e1LKUFNMO1\n\
vcX7XwJBAJdaR/tkCq9PitprSJEOMBW7FrOYF4ACmRIkVI5dy0RUzfCYmJDwvJdd\n\
qlD2uJ8N4/ChqGiokDG3a8v+RKOJxpkCQEq3wuMotP58RnGiz57e2JMyNG1M6jos\n\
gIpQC8MHetgtqW/cv7FKF/W1VUnttkmXaYSScD2wzY+oTcUMsHG2MfUCQQDQ2zeW\n\
EW53f4FjMfbgJ7ZDjPyS3aNhApGqHq+KeHa1CDgHamLzrqE8zi35FNCHNbM8nQYX\n\
siTc3vI9YREMl7mR\n\
-----END PRIVATE KEY-----\n\
";
const RSA_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCv/hmPsRIa9xQH1+2762khi0np\n\
swOEfBcUrizoiW6Hc0AG87XdeDD2AIk+gxS3S+8RNlRQQgoa55gR9aHkgdx0QFrO\n\
KJAycEsCmljIViDvgD8uVxk/sffO54LXczNDdKkTNVasPbTVPdQGCDZXIU1LtRbp\n\
fYrIe/BKrh9/ASMMyQIDAQAB\n\
-----END PUBLIC KEY-----\n\
";

fn pair(curve: Curve) -> (PrivateKey, PublicKey) {
    let secret = curve.generate().unwrap();
    let point = curve.point_of(&secret).unwrap();
    (PrivateKey::Curve { curve, secret }, PublicKey::Curve { curve, point })
}

fn describe(keys: Vec<PublicKey>) -> (Descriptor, Descriptor) {
    let mut plain = Descriptor::new(media_type::OCI_LAYER_GZIP, Digest::of(b"plain"), 5);
    plain.annotations.insert("a".to_owned(), "b".to_owned());
    let keys = EncryptionKeys { keys: Arc::new(keys), layers: Vec::new() };
    let cipher = LayerCipher::generate().unwrap();
    let sum = cipher.sum().finish();
    let encrypted = keys.describe(&plain, &cipher, &sum, (Digest::of(b"encrypted"), 5)).unwrap();
    (plain, encrypted)
}

#[test]
fn each_recipient_and_nobody_else_opens_a_layer() {
    let pairs: Vec<_> = [Curve::P256, Curve::P384, Curve::P521].into_iter().map(pair).collect();
    for count in 1..=pairs.len() {
        let (plain, encrypted) = describe(pairs[..count].iter().map(|(_, public)| public.clone()).collect());
        assert!(is_encrypted(&encrypted.media_type) && !is_encrypted(&plain.media_type));
        for (at, (private, _)) in pairs.iter().enumerate() {
            let opened = DecryptionKeys(Arc::new(vec![private.clone()])).open(&encrypted);
            match opened {
                Ok(opened) => {
                    assert!(at < count);
                    assert_eq!(
                        opened.plain,
                        Descriptor { digest: encrypted.digest.clone(), ..plain.clone() }
                    );
                }
                Err(EncryptionError::WrongKey) => assert!(at >= count),
                Err(other) => panic!("{other}"),
            }
        }
        let none = DecryptionKeys::default().open(&encrypted);
        assert!(matches!(none, Err(EncryptionError::NoKey)));
    }
}

#[test]
fn other_protocols_are_named() {
    let (private, public) = pair(Curve::P256);
    let (_, mut encrypted) = describe(vec![public]);
    let jwe = format!("{KEYS}{JWE}");
    let keys = encrypted.annotations.remove(&jwe).unwrap();
    let decryption = DecryptionKeys(Arc::new(vec![private]));
    encrypted.annotations.insert(format!("{KEYS}pgp"), "AAAA".to_owned());
    assert!(decryption.open(&encrypted).unwrap_err().to_string().contains("encrypted for pgp only"));
    // Several, of which one fits, beside other protocols.
    encrypted.annotations.insert(jwe.clone(), format!("!!,AAAA,{keys}"));
    assert!(decryption.open(&encrypted).is_ok());
    encrypted.annotations.insert(jwe, String::new());
    assert!(matches!(decryption.open(&encrypted), Err(EncryptionError::WrongKey)));
}

#[test]
fn layers_are_chosen_from_both_ends() {
    let (_, public) = pair(Curve::P256);
    let chosen = |layers: &[i64]| {
        EncryptionKeys { keys: Arc::new(vec![public.clone()]), layers: layers.to_vec() }.chosen(3).ok()
    };
    assert_eq!(chosen(&[]), Some(vec![true, true, true]));
    assert_eq!(chosen(&[0, -1]), Some(vec![true, false, true]));
    assert_eq!(chosen(&[-3, 2]), Some(vec![true, false, true]));
    assert_eq!((chosen(&[3]), chosen(&[-4]), chosen(&[i64::MIN])), (None, None, None));
    assert_eq!(EncryptionKeys::default().chosen(2).unwrap(), [false, false]);
}

#[test]
fn rsa_keys_of_files_decrypt_what_is_whole() {
    let Ok(PrivateKey::Rsa(private)) = PrivateKey::read(RSA_PRIVATE.as_bytes(), None) else {
        panic!("a key")
    };
    let Ok(PublicKey::Rsa { key: public, .. }) = PublicKey::read(RSA_PUBLIC.as_bytes()) else {
        panic!("a key")
    };
    for hash in [&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &ring::digest::SHA256] {
        let room = 128 - 2 * hash.output_len() - 2;
        for size in [0, 1, 32, room] {
            let message = vec![7; size];
            let encrypted = public.encrypt(hash, &message).unwrap();
            assert_eq!(private.decrypt(hash, &encrypted).as_deref(), Some(&*message), "{size}");
            let mut changed = encrypted.clone();
            changed[100] ^= 1;
            assert_eq!(private.decrypt(hash, &changed), None);
            assert_eq!(private.decrypt(hash, &encrypted[1..]), None);
        }
        assert_eq!(public.encrypt(hash, &vec![7; room + 1]), None, "too long");
        // Not below the modulus.
        assert_eq!(private.decrypt(hash, &[0xff; 128]), None);
    }
    let mixed = public.encrypt(&ring::digest::SHA256, b"x").unwrap();
    assert_eq!(private.decrypt(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &mixed), None);
    for (file, why) in [
        (&b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"[..], "malformed"),
        (b"", "no private key"),
        (RSA_PUBLIC.as_bytes(), "has no private key"),
        (br#"{"kty":"RSA","n":"AQ","e":"AQAB"}"#, "public key"),
        (br#"{"kty":"OKP","crv":"X25519","d":"AA","x":"AA"}"#, "not supported"),
    ] {
        let Err(error) = PrivateKey::read(file, None) else { panic!("{file:?}") };
        assert!(error.contains(why), "{error}");
    }
    assert!(PublicKey::read(RSA_PRIVATE.as_bytes()).is_err_and(|error| error.contains("private key")));
}
