//! The content store.

pub mod blob;
pub mod digest;
mod error;
mod find;
mod gc;
mod layer;
mod open;
pub mod record;
mod root;
mod session;
mod table;
pub mod tar;

pub use blob::{BlobSlot, BlobWriter};
pub use digest::{Digest, DigestError, Hasher};
pub use error::{Error, Result};
pub use find::Found;
pub use gc::{Collected, Partials};
pub use layer::{Layer, LayerLock, UnpackOptions};
pub use open::Store;
pub use record::{ImageId, ImageLayer, ImageRecord, LayerRecord, TagRecord};
pub use root::RootMount;
pub use table::{ImageGuard, Removed};
