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

/// A store with the first of two images, and the second one, which is pulled in many ways.
struct Pulls {
    env: TestEnv,
    one: OciImage,
}

/// How a pull of the second one ended, and what was sent for it.
struct Pulled {
    code: i32,
    stderr: String,
    sent: u64,
}

impl Pulls {
    fn new(one: &OciImage) -> Self {
        let env = TestEnv::new("hostilechunked");
        let served = Counted::serve(&[("one", one)], honest);
        env.ok(["pull", "-q", "--tls-verify=false", &served.image("one")]);
        Self { env, one: one.clone() }
    }

    fn pull(
        &self,
        two: &OciImage,
        rule: impl Fn(&Request, usize, Answer) -> Answer + Send + Sync + 'static,
    ) -> Pulled {
        let served = Counted::serve(&[("two", two)], rule);
        let image = served.image("two");
        let outcome = self.env.run(["pull", "-q", "--tls-verify=false", "--retry=0", &image]);
        let sent = served.sent();
        if outcome.code == 0 {
            assert_eq!(self.env.ok(["system", "check"]), "");
            let digest = two.manifest["layers"][0]["digest"].as_str().unwrap();
            let blob = self.env.data().join("blobs").join(digest.replace(':', "/"));
            assert!(std::fs::read(blob).unwrap() == two.layers[0].0);
            self.env.ok(["rmi", &image]);
        }
        Pulled { code: outcome.code, stderr: outcome.stderr, sent }
    }

    /// The second image comes, whole; returned is what was sent for it.
    #[track_caller]
    fn works(
        &self,
        what: &str,
        two: &OciImage,
        rule: impl Fn(&Request, usize, Answer) -> Answer + Send + Sync + 'static,
    ) -> u64 {
        let pulled = self.pull(two, rule);
        assert_eq!(pulled.code, 0, "{what}: {}", pulled.stderr);
        pulled.sent
    }

    /// The store has the first image and nothing else.
    #[track_caller]
    fn end(self) {
        assert_eq!(self.env.ok(["images", "-q"]).lines().count(), 1);
        assert_eq!(self.env.ok(["system", "check"]), "");
        assert!(self.env.leaks().is_empty(), "{:#?}", self.env.leaks());
        let blobs = std::fs::read_dir(self.env.data().join("blobs/sha256")).unwrap().count();
        assert_eq!(blobs, 2 + self.one.layers.len(), "manifest, config and layers of the first");
    }
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
    let pulls = Pulls::new(&images[0]);
    let honest_cost = pulls.works("an honest table", &images[1], honest);
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
        ("deep JSON", [b"[".repeat(1 << 16), b"]".repeat(1 << 16)].concat()),
        (
            "many empty entries",
            [&b"{\"version\":1,\"entries\":["[..], &b"{},".repeat(100_000), b"{}]}"].concat(),
        ),
        ("a long table", vec![b' '; 20 << 20]),
    ];
    for (what, table) in tables {
        pulls.works(what, &with_table(&images[1], &table), honest);
    }
    pulls.end();
}

#[test]
fn annotations_that_lie() {
    let images = images(zstd_chunked);
    let annotations = &images[1].manifest["layers"][0]["annotations"];
    let position = annotations[MANIFEST_POSITION].as_str().unwrap().to_owned();
    let numbers: Vec<u64> = position.split(':').map(|number| number.parse().unwrap()).collect();
    let [at, length, size, _] = numbers[..] else { panic!("{position}") };
    let other = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let pulls = Pulls::new(&images[0]);
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
        let mut lying = images[1].clone();
        let annotations = &mut lying.manifest["layers"][0]["annotations"];
        match value {
            Some(value) => annotations[key] = json!(value),
            None => drop(annotations.as_object_mut().unwrap().remove(key)),
        }
        pulls.works(what, &lying, honest);
    }
    pulls.end();
    let stargz = self::images(stargz);
    let pulls = Pulls::new(&stargz[0]);
    pulls.works("an honest eStargz", &stargz[1], honest);
    let mut lying = stargz[1].clone();
    for annotation in lying.manifest["layers"][0]["annotations"].as_object_mut().unwrap().values_mut() {
        *annotation = json!(other);
    }
    pulls.works("another digest of eStargz", &lying, honest);
    pulls.end();
}

#[test]
fn registries_that_lie_about_ranges() {
    let images = images(zstd_chunked);
    let blob = images[1].layers[0].0.clone();
    let whole = blob.len() as u64;
    let pulls = Pulls::new(&images[0]);
    let two = &images[1];
    let all = {
        let blob = blob.clone();
        move |request: &Request, _: usize, answer: Answer| {
            if has_range(request) { Answer::new(200, blob.clone()) } else { answer }
        }
    };
    pulls.works("all of it instead of a range", two, all);
    pulls.works(
        "no ranges",
        two,
        |request, _, answer| {
            if has_range(request) { Answer::new(416, "") } else { answer }
        },
    );
    pulls.works(
        "no answer to ranges",
        two,
        |request, _, answer| {
            if has_range(request) { Answer::new(400, "") } else { answer }
        },
    );
    pulls.works("another range", two, |request, _, answer| {
        if !has_range(request) {
            return answer;
        }
        let length = answer.body.len();
        Answer::new(206, answer.body).with("Content-Range", format!("bytes 1-{length}/{length}"))
    });
    pulls.works("a range without its place", two, |request, _, answer| {
        if has_range(request) { Answer::new(206, answer.body) } else { answer }
    });
    pulls.works("ranges that are cut off", two, |request, _, answer| {
        let half = answer.body.len() / 2;
        if has_range(request) { Answer { cut_after: Some(half), ..answer } } else { answer }
    });
    pulls.works("ranges that are too short", two, |request, _, mut answer| {
        if has_range(request) {
            answer.body.pop();
        }
        answer
    });
    pulls.works("ranges that are too long", two, |request, _, mut answer| {
        if has_range(request) {
            answer.body.push(0);
        }
        answer
    });
    // The table comes, the parts do not: the stream goes on where they ended.
    let sent = pulls.works("ranges that end", two, |request, before, answer| {
        if has_range(request) && before > 0 { Answer::new(500, "") } else { answer }
    });
    assert!(sent < whole, "{sent} of {whole}");
    // Wrong bytes in a range are found by the digest, and everything is fetched.
    let sent = pulls.works("wrong bytes in a range", two, |request, before, mut answer| {
        if has_range(request) && before > 0 {
            answer.body[100] ^= 1;
        }
        answer
    });
    assert!(sent > whole, "{sent} of {whole}");
    pulls.works("wrong bytes in the table", two, |request, _, mut answer| {
        if has_range(request) {
            let last = answer.body.len() - 1;
            answer.body[last] ^= 1;
        }
        answer
    });
    // An error in the middle: what came stays, and the next pull goes on from there.
    let pulled = pulls.pull(two, |request, before, answer| {
        let is_late = before > 0 && request.path.contains("/blobs/");
        if is_late { Answer::new(500, "") } else { answer }
    });
    assert_eq!(pulled.code, 125, "{}", pulled.stderr);
    pulls.works("the rest", two, honest);
    pulls.end();
}

#[test]
fn a_blob_that_is_wrong_is_an_error_that_leaves_nothing() {
    let images = images(zstd_chunked);
    let pulls = Pulls::new(&images[0]);
    let pulled = pulls.pull(&images[1], |request, _, mut answer| {
        if request.path.contains("/blobs/") && answer.body.len() > 4000 {
            answer.body[2000] ^= 1;
        }
        answer
    });
    let Pulled { code, stderr, .. } = pulled;
    assert_eq!(code, 125, "{stderr}");
    assert!(stderr.contains("digest") || stderr.contains("zstd"), "{stderr}");
    pulls.env.ok(["image", "prune", "-f"]);
    pulls.end();
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
