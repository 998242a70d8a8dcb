//! The registry client: OCI distribution over HTTP/1.1.
//!
//! A [`Client`] talks to one repository of one registry. It asks first and proves its identity only when told to:
//! an unchanged image costs one request. Tokens are kept by their scope. Everything that a server can send is bounded
//! in size and time.
//!
//! This is one of the places with an async runtime; [`block_on`] makes and ends it, on the calling thread.

use std::cell::RefCell;

mod blob;
mod body;
mod challenge;
mod client;
mod error;
mod lookaside;
mod manifest;
mod range;
mod retry;
mod search;
mod tls;
mod token;
mod transport;
mod upload;

pub use blob::{BlobPiece, BlobStream};
pub use body::{Payload, Pieces, file_pieces};
pub use client::{Access, Client, Connection};
pub use error::{Answer, RegistryError, TransportCause};
pub use manifest::{Head, Served};
pub(in crate::image) use range::{RANGE_MAX, split};
pub use retry::RetryPolicy;
pub use search::Hit;

use super::auth::Secret;
use super::progress::{Progress, Reporter, Silent};
use super::reference::Reference;
use super::request::Credentials;

/// Runs `future` to its end on a runtime of its own. The threads that resolving host names needs end with it.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, RegistryError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RegistryError::Setup(error.into()))?;
    Ok(runtime.block_on(future))
}

/// Asks a registry whether it accepts credentials.
pub fn check_login(
    host: &str,
    credentials: Credentials,
    connection: &Connection,
) -> Result<(), RegistryError> {
    let mut silent = Silent;
    let silent: RefCell<&mut dyn Progress> = RefCell::new(&mut silent);
    let reporter = Reporter::new(&silent);
    let placeholder = Reference::parse(&format!("{host}/login")).ok();
    let client = Client::new(host, placeholder.as_ref(), Secret::Password(credentials), connection, reporter);
    block_on(client.check_login())?
}
