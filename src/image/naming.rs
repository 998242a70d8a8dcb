//! Names that move from one image to another: that is said, because the other one is then hard to find.

use crate::store::{Digest, ImageId, Result, Store};

/// Gives an image a full name. Where another image had it, what has become of that one is returned.
///
/// # Errors
/// When there is no such image, or the name cannot be written.
pub fn give_name(
    store: &Store,
    name: &str,
    id: &ImageId,
    manifest: Option<Digest>,
) -> Result<Option<String>> {
    let Some(before) = store.tag(name, id, manifest)? else { return Ok(None) };
    // It may be gone altogether by now.
    let nameless = store.image(&before)?.is_some() && store.names_of(&before)?.is_empty();
    let rest = if nameless { ", which has no name now" } else { "" };
    Ok(Some(format!("{name} named image {} before{rest}", before.short())))
}
