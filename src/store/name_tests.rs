//! Images by their names: finding, moving and removing them.

use std::time::Duration;

use super::testing::*;
use super::tests::{assert_clean, base};
use super::*;
use crate::config::ErrorKind;

#[test]
fn images_are_found_by_what_people_type() {
    let scratch = Scratch::new("find");
    let store = scratch.store();
    let one = image(&store, Some("docker.io/library/alpine:latest"), &[archive(&[file("a", "1")])]);
    let two = image(&store, Some("localhost:5000/team/app:1"), &[archive(&[file("b", "2")])]);
    store.tag("quay.io/team/tool:latest", &two.id, None).unwrap();
    let id = one.id.as_str();
    let manifest = one.manifest.clone().unwrap();
    for (text, expected) in [
        ("alpine", &one),
        ("alpine:latest", &one),
        ("docker.io/library/alpine", &one),
        ("docker.io/alpine", &one),
        (id, &one),
        (&id[..12], &one),
        (&format!("sha256:{id}"), &one),
        (&format!("alpine@{manifest}"), &one),
        (&format!("docker.io/library/alpine@{manifest}"), &one),
        (&manifest.to_string(), &one),
        ("localhost:5000/team/app:1", &two),
        ("team/app:1", &two),
        ("app:1", &two),
        ("tool", &two),
    ] {
        assert_eq!(store.find_image(text).unwrap().record.id, expected.id, "{text}");
    }
    for text in
        ["", "alpin", "alpine:3", "app", "team/app", &format!("tool@{manifest}"), "zz", "../x", "sha256:"]
    {
        let error = store.find_image(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
    }
    store.tag("localhost/tool:latest", &one.id, None).unwrap();
    store.untag("localhost/tool:latest").unwrap();
    store.tag("other.io/team/tool:latest", &one.id, None).unwrap();
    assert!(matches!(store.find_image("team/tool"), Err(Error::Ambiguous { .. })));
}

#[test]
fn names_move_and_the_last_one_takes_the_image_along() {
    let scratch = Scratch::new("names");
    let store = scratch.store();
    let one = image(&store, Some("localhost/a:latest"), &[base()]);
    let two = image(&store, None, &[base(), archive(&[file("b", "2")])]);
    let long = format!("localhost/{}:latest", "x/".repeat(150));
    store.tag(&long, &one.id, None).unwrap();
    assert_eq!(store.find_image(&long).unwrap().record.id, one.id);
    assert_eq!(store.tag("localhost/a:latest", &two.id, None).unwrap(), Some(one.id.clone()));
    assert!(!store.untag("localhost/nothing:latest").unwrap());
    store.tag("localhost/b:latest", &two.id, None).unwrap();
    let removed = store.remove_image(&two.id, Some("localhost/b:latest"), |_| panic!("only a name")).unwrap();
    assert_eq!((removed.untagged, removed.deleted), (vec!["localhost/b:latest".to_owned()], None));
    let error = store.remove_image(&two.id, None, |_| vec!["c1".into()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(store.find_image("a").unwrap().record.id, two.id, "refused means unchanged");
    let removed = store.remove_image(&two.id, Some("localhost/a:latest"), |_| Vec::new()).unwrap();
    assert_eq!(removed.deleted, Some(two.id.clone()));
    assert_eq!(store.remove_image(&two.id, None, |_| Vec::new()).unwrap_err().kind(), ErrorKind::NotFound);
    drop(store);
    let store = scratch.store();
    assert_clean(&store, "names");
    assert!(store.layer(&Digest::of(&base())).unwrap().is_some(), "shared with the other image");
}

#[test]
fn a_held_image_is_not_removed() {
    let scratch = Scratch::new("held");
    let store = scratch.store();
    let record = image(&store, Some("localhost/a:latest"), &[base()]);
    let guard = store.hold_image(&record.id).unwrap();
    std::thread::scope(|scope| {
        let removal = scope.spawn(|| store.remove_image(&record.id, None, |_| vec!["late".into()]));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!removal.is_finished());
        drop(guard);
        assert!(matches!(removal.join().unwrap(), Err(Error::InUse { .. })));
    });
}
