//! Where each part of a blob comes from: a blob that is here, or the registry.
//!
//! Pieces are the same ones if they held the same before they were compressed and are as long afterwards. That is a guess,
//! and the digest of the whole decides; so no blob is taken from whose pieces mostly have other lengths: somebody else
//! compressed it, and one wrong piece spoils everything.

use std::collections::HashMap;
use std::ops::Range;

use super::local::LocalBlob;
use super::table::{Format, Key, Piece};

/// What a request costs, in bytes: shorter gaps between two parts are fetched, too.
const REQUEST: u64 = 4 << 10;
/// The most requests for one blob: beyond, the shortest gaps are fetched.
const REQUESTS_MAX: usize = 512;

/// Nothing is taken from a blob of whose pieces more than one in so many has another length.
const FOREIGN: usize = 20;

/// Where a part of a blob comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::image) enum Source {
    /// The registry.
    Remote,
    /// This one of the blobs, at this place.
    Local(usize, u64),
}

/// A part of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) struct Part {
    pub(in crate::image) range: Range<u64>,
    pub(in crate::image) source: Source,
}

impl Part {
    fn length(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// How to come by the pieces from `from` on; nothing where ordinary fetching is as good.
pub(in crate::image) fn plan(
    pieces: &[Piece],
    format: Format,
    locals: &[LocalBlob],
    from: u64,
) -> Option<Vec<Part>> {
    let found = find(pieces, format, locals);
    let mut parts: Vec<Part> = Vec::new();
    for piece in pieces.iter().filter(|piece| piece.end > from) {
        let skipped = from.saturating_sub(piece.start);
        let source = match found.get(&piece.key) {
            Some((local, known)) if known.length() == piece.length() => {
                Source::Local(*local, known.start + skipped)
            }
            _ => Source::Remote,
        };
        append(&mut parts, Part { range: piece.start + skipped..piece.end, source });
    }
    let parts = with_few_requests(&parts);
    let total: u64 = parts.iter().map(Part::length).sum();
    let remote: u64 = parts.iter().filter(|part| part.source == Source::Remote).map(Part::length).sum();
    // Many requests for little are no gain.
    (remote < total - total / 10).then_some(parts)
}

/// The pieces that some blob has.
fn find(pieces: &[Piece], format: Format, locals: &[LocalBlob]) -> HashMap<Key, (usize, Piece)> {
    let wanted: HashMap<Key, u64> = pieces.iter().map(|piece| (piece.key, piece.length())).collect();
    let mut found = HashMap::new();
    for (at, local) in locals.iter().enumerate().filter(|(_, local)| local.format == format) {
        let known = local.pieces.iter().filter(|piece| wanted.contains_key(&piece.key));
        let (same, other): (Vec<&Piece>, Vec<&Piece>) =
            known.partition(|piece| wanted[&piece.key] == piece.length());
        if other.len() * FOREIGN > same.len() {
            continue;
        }
        for piece in same {
            found.entry(piece.key).or_insert((at, *piece));
        }
    }
    found
}

/// Adds a part; what continues the last one becomes one with it.
fn append(parts: &mut Vec<Part>, part: Part) {
    if let Some(last) = parts.last_mut() {
        let goes_on = match (last.source, part.source) {
            (Source::Remote, Source::Remote) => true,
            (Source::Local(blob, at), Source::Local(other, next)) => {
                blob == other && at + last.length() == next
            }
            _ => false,
        };
        if goes_on && last.range.end == part.range.start {
            last.range.end = part.range.end;
            return;
        }
    }
    parts.push(part);
}

/// Fetches what lies between two parts that are fetched anyhow, where that is cheaper than another request.
fn with_few_requests(parts: &[Part]) -> Vec<Part> {
    let is_remote = |part: &Part| part.source == Source::Remote;
    let runs: Vec<&[Part]> = parts.chunk_by(|a, b| is_remote(a) == is_remote(b)).collect();
    let is_gap = |at: usize| at > 0 && at + 1 < runs.len() && !is_remote(&runs[at][0]);
    let length = |run: &[Part]| run.iter().map(Part::length).sum::<u64>();
    let mut gaps: Vec<u64> = (0..runs.len()).filter(|at| is_gap(*at)).map(|at| length(runs[at])).collect();
    gaps.sort_unstable_by(|a, b| b.cmp(a));
    // As many gaps as this lie between that many requests.
    let shortest = gaps.get(REQUESTS_MAX - 1).map_or(REQUEST, |gap| REQUEST.max(gap + 1));
    let mut fewer = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        if is_gap(at) && length(run) < shortest {
            let range = run[0].range.start..run[run.len() - 1].range.end;
            append(&mut fewer, Part { range, source: Source::Remote });
        } else {
            run.iter().for_each(|part| append(&mut fewer, part.clone()));
        }
    }
    fewer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(lengths: &[(u8, u64)]) -> Vec<Piece> {
        let mut start = 0;
        let piece = |(key, length): &(u8, u64)| {
            let piece = Piece { key: [*key; 16], start, end: start + length };
            start += length;
            piece
        };
        lengths.iter().map(piece).collect()
    }

    fn local(lengths: &[(u8, u64)]) -> LocalBlob {
        let file = std::fs::File::open("/dev/null").unwrap();
        LocalBlob { file, format: Format::Zstd, pieces: pieces(lengths) }
    }

    fn planned(target: &[(u8, u64)], locals: &[LocalBlob], from: u64) -> Option<Vec<(u64, u64, Source)>> {
        let parts = plan(&pieces(target), Format::Zstd, locals, from)?;
        Some(parts.into_iter().map(|part| (part.range.start, part.range.end, part.source)).collect())
    }

    const BIG: u64 = 100_000;

    #[test]
    fn what_is_here_is_not_fetched() {
        let here = [local(&[(9, 50), (1, BIG), (2, 500), (3, BIG)]), local(&[(4, BIG)])];
        let target = [(1, BIG), (2, 500), (8, 10), (3, BIG), (4, BIG), (7, 20)];
        let (a, b, c, d) = (BIG + 500, BIG + 510, 2 * BIG + 510, 3 * BIG + 510);
        assert_eq!(
            planned(&target, &here, 0).unwrap(),
            [
                (0, a, Source::Local(0, 50)),
                (a, b, Source::Remote),
                (b, c, Source::Local(0, BIG + 550)),
                (c, d, Source::Local(1, 0)),
                (d, d + 20, Source::Remote),
            ]
        );
        // From the middle of a piece.
        let rest = planned(&target, &here, 30).unwrap();
        assert_eq!(rest[0], (30, a, Source::Local(0, 80)));
        assert_eq!(planned(&target, &[], 0), None);
        assert_eq!(planned(&[], &here, 0), None);
        assert_eq!(planned(&target, &here, d + 20), None);
    }

    #[test]
    fn short_gaps_are_fetched() {
        let here = [local(&[(1, BIG), (2, REQUEST - 1), (3, REQUEST)])];
        let target = [(1, BIG), (8, 10), (2, REQUEST - 1), (7, 10), (3, REQUEST), (6, 10)];
        let sources: Vec<Source> =
            planned(&target, &here, 0).unwrap().into_iter().map(|(_, _, source)| source).collect();
        let at = BIG + REQUEST - 1;
        assert_eq!(
            sources,
            [Source::Local(0, 0), Source::Remote, Source::Local(0, at), Source::Remote],
            "the first two that are missing are one request"
        );
    }

    #[test]
    fn requests_are_limited() {
        let mut target = Vec::new();
        for gap in 0..2000 {
            target.extend([(7, 5), (1, REQUEST + gap)]);
        }
        let all: Vec<(u8, u64)> = target.iter().copied().filter(|(key, _)| *key == 1).collect();
        // One key for all: only their lengths tell them apart, which no real table has.
        let mut here = local(&all);
        let mut wanted = pieces(&target);
        for (at, piece) in wanted.iter_mut().filter(|piece| piece.key[0] == 1).enumerate() {
            piece.key[1..9].copy_from_slice(&at.to_le_bytes());
            here.pieces[at].key = piece.key;
        }
        let parts = plan(&wanted, Format::Zstd, &[here], 0).unwrap();
        let requests = parts.iter().filter(|part| part.source == Source::Remote).count();
        assert_eq!(requests, REQUESTS_MAX);
        let covered: u64 = parts.iter().map(Part::length).sum();
        assert_eq!(covered, target.iter().map(|(_, length)| length).sum::<u64>());
    }

    #[test]
    fn nothing_is_taken_from_what_another_compressor_made() {
        let target: Vec<(u8, u64)> = (1..100).map(|key| (key, 1000)).collect();
        let mut foreign = target.clone();
        foreign.iter_mut().skip(10).for_each(|(_, length)| *length += 1);
        assert_eq!(planned(&target, &[local(&foreign)], 0), None);
        let mut nearly = target.clone();
        nearly[5].1 += 1;
        assert!(planned(&target, &[local(&nearly)], 0).is_some());
    }
}
