//! The content store.

mod attributes;
pub mod blob;
mod builtin;
mod changes;
mod check;
mod commit;
mod derive;
pub mod digest;
mod error;
mod find;
mod gc;
mod layer;
mod lists;
#[cfg(test)]
mod name_tests;
mod open;
pub mod pack;
pub mod place;
mod probe;
pub mod record;
mod root;
mod session;
mod table;
pub mod tar;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod unpack;
mod usage;
mod use_time;
mod variants;

pub use blob::{BlobSlot, BlobWriter};
pub use builtin::HELLO;
pub use changes::Change;
pub use check::TagProblem;
pub use commit::Committed;
pub use digest::{Digest, DigestError, Hasher};
pub use error::{Error, Result};
pub use find::Found;
pub use gc::{Collected, Partials};
pub use layer::{Layer, LayerLock, UnpackOptions};
pub use open::Store;
pub use probe::{Driver, DriverInfo, DriverOptions};
pub use record::{ImageId, ImageLayer, ImageRecord, LayerRecord, TagRecord};
pub use root::{RootAttributes, RootMount};
pub use session::{Staging, abandoned_staging, reclaim_staging};
pub use table::{ImageGuard, Removed};
pub use usage::{Object, Usage};
pub use use_time::record_use;
pub use variants::Variant;
