//! Messages and keys that GnuPG made; see the integration tests for more of them.

use super::*;

#[test]
fn what_is_no_message_is_refused() {
    let keyring = Keyring::default();
    assert_eq!(keyring.verify(b""), Err(Problem::Form));
    assert_eq!(keyring.verify(b"text"), Err(Problem::Malformed));
    // A literal packet without a signature, and a signature without a document.
    assert_eq!(keyring.verify(&[0xcb, 7, b'b', 0, 0, 0, 0, 0, b'x']), Err(Problem::Form));
    assert_eq!(keyring.verify(&[0xc2, 1, 4]), Err(Problem::Form));
    assert!(Keyring::read([&b"no keys"[..]], 0).is_err());
    assert!(Keyring::read([&[][..]], 0).unwrap().is_empty());
}
