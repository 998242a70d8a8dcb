//! What a pull or a load tells while it works. The engine only emits events; who draws, streams or records them
//! implements [`Progress`].

use std::cell::RefCell;
use std::time::Duration;

use super::reference::Reference;
use crate::store::Digest;

/// One thing that happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A short name was looked up in registries.conf: where its meaning was found.
    Resolved {
        /// What the user typed.
        name: &'a str,
        /// The alias file or the list of search registries.
        by: &'a Resolution,
    },
    /// Pulling this reference begins.
    Trying(&'a Reference),
    /// A manifest was found and its content is now fetched.
    Source,
    /// A layer or config is being fetched; its total size where known.
    BlobStarted {
        /// Digest of the blob.
        digest: &'a Digest,
        /// Bytes in all.
        size: Option<u64>,
        /// Bytes already here from an interrupted download.
        offset: u64,
    },
    /// The blob is here already.
    BlobSkipped(&'a Digest),
    /// More bytes of the blob have arrived.
    BlobProgress {
        /// Digest of the blob.
        digest: &'a Digest,
        /// Bytes here by now.
        position: u64,
    },
    /// The blob is complete, verified and unpacked.
    BlobDone(&'a Digest),
    /// The config is being stored.
    Config(&'a Digest),
    /// The manifest is being stored.
    Manifest,
    /// A request failed and is tried again after a pause.
    Retry {
        /// What it was for.
        purpose: Option<&'a str>,
        /// What failed.
        error: &'a (dyn std::error::Error + 'static),
        /// How long until the next attempt.
        delay: Duration,
        /// Which retry follows, from 1.
        attempt: u32,
        /// How many there are at most.
        retries: u32,
    },
    /// What was written is signed, in this way.
    Signing(&'a str),
    /// A name has moved from one image to another, in words.
    Moved(&'a str),
    /// Something that the user should know and that stops nothing.
    Warning(&'a str),
}

/// How a short name found its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// An alias, in this file.
    Alias(String),
    /// `unqualified-search-registries`, in this file; nothing for the built-in default.
    SearchRegistries(Option<String>),
}

/// Receives events, on the thread that called the engine.
pub trait Progress {
    /// Takes one event. It must return quickly: the transfer waits for it.
    fn event(&mut self, event: Event<'_>);
}

/// A [`Progress`] that several tasks of one thread share.
#[derive(Clone, Copy)]
pub struct Reporter<'a>(&'a (dyn Report + 'a));

impl std::fmt::Debug for Reporter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reporter")
    }
}

/// [`Progress`] behind a shared reference; it also hides the lifetime that a mutable one would fix.
trait Report {
    fn report(&self, event: Event<'_>);
}

impl<'p> Report for RefCell<&'p mut (dyn Progress + 'p)> {
    fn report(&self, event: Event<'_>) {
        self.borrow_mut().event(event);
    }
}

impl<'a> Reporter<'a> {
    /// Wraps the receiver.
    #[must_use]
    pub fn new<'p>(progress: &'a RefCell<&'p mut (dyn Progress + 'p)>) -> Self {
        Self(progress)
    }

    /// Passes on one event.
    pub fn report(&self, event: Event<'_>) {
        self.0.report(event);
    }
}

/// Drops every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&mut self, _: Event<'_>) {}
}
