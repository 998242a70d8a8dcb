//! Tables of contents and ranges that lie: the ordinary download takes over, or there is one clear error, and what is in
//! the store is right in any case.

use serde_json::{Value, json};

use super::support::TestEnv;
use super::support::chunked::{
    Counted, MANIFEST_CHECKSUM, MANIFEST_POSITION, noise, stargz, table, with_table, zstd_chunked,
};
use super::support::fake::{Answer, Request};
use super::support::image::{Entry, OciImage, dir, layer};

/// Two images of which the second has one file more.
fn images(make: impl Fn(&[u8]) -> OciImage) -> [OciImage; 2] {
    let mut entries = vec![dir("data/")];
    for number in 0..40 {
        entries.push(Entry::File(format!("data/{number}"), 0o644, noise(9_000, number)));
    }
    let one = make(&layer(&entries));
    entries.insert(20, Entry::File("data/new".into(), 0o644, noise(9_000, 99)));
    [one, make(&layer(&entries))]
}

/// Pulls the first image, then the second one with `rule` in between.
fn second_pull(
    images: &[OciImage; 2],
    rule: impl Fn(&Request, usize, Answer) -> Answer + Send + Sync + 'static,
) -> (TestEnv, i32, String, u64) {
    let honest = Counted::serve(&[("one", &images[0])], |_, _, answer| answer);
    let evil = Counted::serve(&[("two", &images[1])], rule);
    let env = TestEnv::new("hostilechunked");
    env.ok(["pull", "-q", "--tls-verify=false", &honest.image("one")]);
    let outcome = env.run(["pull", "-q", "--tls-verify=false", "--retry=0", &evil.image("two")]);
    (env, outcome.code, outcome.stderr, evil.sent())
}

/// The second image is there, whole; returned is what was sent for it.
#[track_caller]
fn works(
    what: &str,
    images: &[OciImage; 2],
    rule: impl Fn(&Request, usize, Answer) -> Answer + Send + Sync + 'static,
) -> u64 {
    let (env, code, stderr, sent) = second_pull(images, rule);
    assert_eq!(code, 0, "{what}: {stderr}");
    assert_eq!(env.ok(["system", "check"]), "", "{what}");
    assert_eq!(env.ok(["images", "-q"]).lines().count(), 2, "{what}");
    assert!(env.leaks().is_empty(), "{what}: {:#?}", env.leaks());
    sent
}

fn honest(_: &Request, _: usize, answer: Answer) -> Answer {
    answer
}

fn has_range(request: &Request) -> bool {
    request.header("range").contains('-') && !request.header("range").ends_with('-')
}

#[test]
fn tables_that_lie_cost_bytes_and_nothing_else() {
    let images = images(zstd_chunked);
    let whole = images[1].layers[0].0.len() as u64;
    let honest_cost = works("an honest table", &images, honest);
    assert!(honest_cost < whole / 3, "{honest_cost} of {whole}");
    let good = table(&images[1]);
    let change = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut table = good.clone();
        change(table["entries"].as_array_mut().unwrap());
        serde_json::to_vec(&table).unwrap()
    };
    let first = 1;
    let tables: Vec<(&str, Vec<u8>)> = vec![
        ("names that lead up", change(&|all| all[first]["name"] = json!("../../../etc/passwd"))),
        ("absolute names", change(&|all| all[first]["name"] = json!("/etc/passwd"))),
        (
            "absolute links",
            change(&|all| {
                all[first]["type"] = json!("symlink");
                all[first]["linkName"] = json!("/etc/passwd");
            }),
        ),
        (
            "entries that come twice",
            change(&|all| {
                let again = all.clone();
                all.extend(again);
            }),
        ),
        ("a size that lies", change(&|all| all[first]["size"] = json!(1_u64 << 60))),
        ("a size below zero", change(&|all| all[first]["size"] = json!(-1))),
        ("a place outside of the blob", change(&|all| all[first]["offset"] = json!(1_u64 << 50))),
        ("an end outside of the blob", change(&|all| all[40]["endOffset"] = json!(1_u64 << 50))),
        ("a place below zero", change(&|all| all[first]["offset"] = json!(-5))),
        ("places that overlap", change(&|all| all[5]["offset"] = all[4]["offset"].clone())),
        ("an end before its beginning", change(&|all| all[5]["endOffset"] = json!(10))),
        ("the wrong order", change(&|all| all.reverse())),
        (
            // Contents that are here, and just as long, but not what belongs there.
            "contents of others",
            change(&|all| {
                let digest = all[4]["digest"].clone();
                all[4]["digest"] = all[5]["digest"].clone();
                all[5]["digest"] = digest;
            }),
        ),
        ("no entries", change(&|all| all.clear())),
        ("another version", br#"{"version":2,"entries":[]}"#.to_vec()),
        ("no JSON", b"{{{{{{".to_vec()),
        ("nothing", Vec::new()),
        ("deep JSON", [b"[".repeat(1 << 20), b"]".repeat(1 << 20)].concat()),
        (
            "many empty entries",
            [&b"{\"version\":1,\"entries\":["[..], &b"{},".repeat(1 << 20), b"{}]}"].concat(),
        ),
        ("a long table", vec![b' '; 100 << 20]),
    ];
    for (what, table) in tables {
        let lying = [images[0].clone(), with_table(&images[1], &table)];
        works(what, &lying, honest);
    }
}

#[test]
fn annotations_that_lie() {
    let images = images(zstd_chunked);
    let annotations = &images[1].manifest["layers"][0]["annotations"];
    let position = annotations[MANIFEST_POSITION].as_str().unwrap().to_owned();
    let numbers: Vec<u64> = position.split(':').map(|number| number.parse().unwrap()).collect();
    let [at, length, size, _] = numbers[..] else { panic!("{position}") };
    let other = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    for (what, key, value) in [
        ("another digest", MANIFEST_CHECKSUM, Some(other.to_owned())),
        ("no digest", MANIFEST_CHECKSUM, Some("none".to_owned())),
        ("no position", MANIFEST_POSITION, None),
        ("a position that is none", MANIFEST_POSITION, Some("a:b:c:d".to_owned())),
        ("a table of 1 GB", MANIFEST_POSITION, Some(format!("{at}:{length}:{}:1", 1 << 30))),
        ("a table that is shorter", MANIFEST_POSITION, Some(format!("{at}:{length}:{}:1", size - 1))),
        ("a table outside", MANIFEST_POSITION, Some(format!("{at}:{}:{size}:1", 1_u64 << 30))),
        ("a table at the very beginning", MANIFEST_POSITION, Some(format!("8:{length}:{size}:1"))),
        ("a table elsewhere", MANIFEST_POSITION, Some(format!("{}:{length}:{size}:1", at - 1))),
    ] {
        let mut lying = images.clone();
        let annotations = &mut lying[1].manifest["layers"][0]["annotations"];
        match value {
            Some(value) => annotations[key] = json!(value),
            None => drop(annotations.as_object_mut().unwrap().remove(key)),
        }
        works(what, &lying, honest);
    }
    let stargz = self::images(stargz);
    works("an honest eStargz", &stargz, honest);
    let mut lying = stargz.clone();
    for annotation in lying[1].manifest["layers"][0]["annotations"].as_object_mut().unwrap().values_mut() {
        *annotation = json!(other);
    }
    works("another digest of eStargz", &lying, honest);
}

#[test]
fn registries_that_lie_about_ranges() {
    let images = images(zstd_chunked);
    let blob = images[1].layers[0].0.clone();
    let whole = blob.len() as u64;
    let all = {
        let blob = blob.clone();
        move |request: &Request, _: usize, answer: Answer| {
            if has_range(request) { Answer::new(200, blob.clone()) } else { answer }
        }
    };
    works("all of it instead of a range", &images, all);
    works(
        "no ranges",
        &images,
        |request, _, answer| {
            if has_range(request) { Answer::new(416, "") } else { answer }
        },
    );
    works(
        "no answer to ranges",
        &images,
        |request, _, answer| {
            if has_range(request) { Answer::new(400, "") } else { answer }
        },
    );
    works("another range", &images, |request, _, answer| {
        if !has_range(request) {
            return answer;
        }
        let length = answer.body.len();
        Answer::new(206, answer.body).with("Content-Range", format!("bytes 1-{length}/{length}"))
    });
    works("a range without its place", &images, |request, _, answer| {
        if has_range(request) { Answer::new(206, answer.body) } else { answer }
    });
    works("ranges that are cut off", &images, |request, _, answer| {
        let half = answer.body.len() / 2;
        if has_range(request) { Answer { cut_after: Some(half), ..answer } } else { answer }
    });
    works("ranges that are too short", &images, |request, _, mut answer| {
        if has_range(request) {
            answer.body.pop();
        }
        answer
    });
    works("ranges that are too long", &images, |request, _, mut answer| {
        if has_range(request) {
            answer.body.push(0);
        }
        answer
    });
    // The table comes, the parts do not: the stream goes on where they ended.
    let sent = works("ranges that end", &images, |request, before, answer| {
        if has_range(request) && before > 0 { Answer::new(500, "") } else { answer }
    });
    assert!(sent < whole, "{sent} of {whole}");
    // Wrong bytes in a range are found by the digest, and everything is fetched.
    let sent = works("wrong bytes in a range", &images, |request, before, mut answer| {
        if has_range(request) && before > 0 {
            answer.body[100] ^= 1;
        }
        answer
    });
    assert!(sent > whole, "{sent} of {whole}");
    works("wrong bytes in the table", &images, |request, _, mut answer| {
        if has_range(request) {
            let last = answer.body.len() - 1;
            answer.body[last] ^= 1;
        }
        answer
    });
}

#[test]
fn a_blob_that_is_wrong_is_an_error_that_leaves_nothing() {
    let images = images(zstd_chunked);
    let (env, code, stderr, _) = second_pull(&images, |request, _, mut answer| {
        if request.path.contains("/blobs/") && answer.body.len() > 4000 {
            answer.body[2000] ^= 1;
        }
        answer
    });
    assert_eq!(code, 125, "{stderr}");
    assert!(stderr.contains("digest") || stderr.contains("zstd"), "{stderr}");
    assert_eq!(env.ok(["images", "-q"]).lines().count(), 1);
    assert_eq!(env.ok(["system", "check"]), "");
    assert!(env.leaks().is_empty(), "{:#?}", env.leaks());
}

#[test]
fn a_damaged_blob_here_spoils_nothing() {
    let images = images(zstd_chunked);
    let served = Counted::serve(&[("one", &images[0]), ("two", &images[1])], honest);
    let env = TestEnv::new("damagedchunked");
    env.ok(["pull", "-q", "--tls-verify=false", &served.image("one")]);
    let digest = images[0].manifest["layers"][0]["digest"].as_str().unwrap();
    let blob = env.data().join("blobs").join(digest.replace(':', "/"));
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[3000] ^= 1;
    std::fs::write(&blob, &bytes).unwrap();
    env.ok(["pull", "-q", "--tls-verify=false", &served.image("two")]);
    let digest = images[1].manifest["layers"][0]["digest"].as_str().unwrap();
    let blob = env.data().join("blobs").join(digest.replace(':', "/"));
    assert!(std::fs::read(blob).unwrap() == images[1].layers[0].0);
}
