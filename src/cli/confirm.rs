//! Asking before something is destroyed.

use super::error::Result;
use super::ui::Ui;

/// Shows `warning` and asks; anything but a word that starts with "y" means no.
pub fn ask(ui: &mut Ui, warning: &str) -> Result<bool> {
    ui.data(warning)?;
    ui.data_bytes(b"Are you sure you want to continue? [y/N] ")?;
    ui.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.to_lowercase().starts_with('y'))
}
