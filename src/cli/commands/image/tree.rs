//! `rbox image tree`.

use std::fmt::Write as _;

use crate::cli::error::{CommandError, Result};
use crate::cli::exit::ExitStatus;
use crate::cli::ui::Ui;
use crate::cli::units::decimal_size_with_precision;
use crate::engine::Engine;
use crate::image::local::{self, Image};
use crate::store::Digest;

/// Print layer hierarchy of an image in a tree format
///
/// Print layer hierarchy of an image in a tree format
#[derive(Debug, clap::Args)]
#[command(after_help = "rbox image tree alpine:latest")]
pub struct Args {
    /// Show all child images and layers of the specified image
    #[arg(long)]
    whatrequires: bool,
    image: String,
}

/// Prints the layers of an image, or the images that build on it.
pub fn exec(ui: &mut Ui, engine: &Engine, args: Args) -> Result<ExitStatus> {
    let store = engine.store()?;
    let record = store.find_image(&args.image)?.record;
    let images = local::list(store)?;
    let own = layers(
        images
            .iter()
            .find(|image| image.record.id == record.id)
            .ok_or_else(|| CommandError::from(crate::image::Error::NotKnown(args.image.clone())))?,
    );
    let names = |wanted: &[Digest]| {
        let tops = images.iter().filter(|image| !image.record.list && layers(image) == wanted);
        tops.flat_map(Image::repo_tags).collect::<Vec<_>>().join(" ")
    };
    let mut text = format!("Image ID: {}\nTags:     [{}]\nSize:     ", record.id.short(), names(&own));
    let size = |bytes| decimal_size_with_precision(bytes, 4);
    let _ = writeln!(text, "{}", size(record.size));
    text.push_str(if own.is_empty() { "No Image Layers" } else { "Image Layers" });
    let line = |layers: &[Digest]| -> Result<String> {
        let Some(top) = layers.last() else { return Ok(String::new()) };
        let bytes = store.layer(top)?.map_or(0, |layer| layer.record().archive_size);
        let names = names(layers);
        let tops = if names.is_empty() { names } else { format!(" Top Layer of: [{names}]") };
        Ok(format!("ID: {} Size: {:>7}{tops}", &top.hex()[..12], size(bytes)))
    };
    ui.data(text)?;
    if args.whatrequires {
        let all: Vec<Vec<Digest>> = images.iter().map(layers).collect();
        return children(ui, &own, &all, "", &line).map(|()| ExitStatus::SUCCESS);
    }
    for end in 1..=own.len() {
        let branch = if end == own.len() { "└──" } else { "├──" };
        ui.data(format_args!("{branch} {}", line(&own[..end])?))?;
    }
    Ok(ExitStatus::SUCCESS)
}

/// Prints each layer that follows on `base` in some image, with what follows on it.
fn children(
    ui: &mut Ui,
    base: &[Digest],
    all: &[Vec<Digest>],
    indent: &str,
    line: &dyn Fn(&[Digest]) -> Result<String>,
) -> Result<()> {
    let longer = all.iter().filter(|other| other.len() > base.len() && other.starts_with(base));
    let mut next: Vec<&[Digest]> = longer.map(|other| &other[..=base.len()]).collect();
    next.sort();
    next.dedup();
    for (at, layers) in next.iter().enumerate() {
        let is_last = at + 1 == next.len();
        ui.data(format_args!("{indent}{} {}", if is_last { "└──" } else { "├──" }, line(layers)?))?;
        let deeper = format!("{indent}{}", if is_last { "    " } else { "│   " });
        children(ui, layers, all, &deeper, line)?;
    }
    Ok(())
}

fn layers(image: &Image) -> Vec<Digest> {
    image.record.layers.iter().map(|layer| layer.diff_id.clone()).collect()
}
