//! Asking before something is destroyed.

use super::error::{CommandError, Result};
use super::ui::Ui;

/// Shows `warning` and asks; anything but a word that starts with "y" means no.
///
/// # Errors
/// When stdin ends without an answer.
pub fn ask(ui: &mut Ui, warning: &str) -> Result<bool> {
    ui.data(warning)?;
    ui.data_bytes(b"Are you sure you want to continue? [y/N] ")?;
    ui.flush()?;
    let mut answer = String::new();
    if std::io::stdin().read_line(&mut answer)? == 0 {
        return Err(CommandError::new("EOF").with_hint("nobody answers on stdin: `--force` does not ask"));
    }
    Ok(answer.to_lowercase().starts_with('y'))
}
