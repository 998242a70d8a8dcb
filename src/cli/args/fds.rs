//! `--preserve-fds` and `--preserve-fd`: descriptors of the caller that go into the container.

use std::os::fd::RawFd;

use super::csv;
use crate::cli::error::{CommandError, Result};
use crate::kernel::descriptor;
use crate::runtime::Passed;

/// Takes `count` descriptors from 3 on, or those of the list.
///
/// # Errors
/// When one is not open, or both options are used.
pub fn preserved(count: u32, listed: &[String]) -> Result<Vec<Passed>> {
    let listed = csv::split(listed).map_err(CommandError::new)?;
    if count > 0 && !listed.is_empty() {
        return Err(CommandError::new("cannot specify both --preserve-fds and --preserve-fd"));
    }
    let (mut numbers, option): (Vec<RawFd>, _) = if listed.is_empty() {
        ((3..).take(count as usize).collect(), "preserve-fds")
    } else {
        let parse = |text: &String| {
            text.parse::<RawFd>().map_err(|_| CommandError::new(format!("invalid file descriptor {text:?}")))
        };
        (listed.iter().map(parse).collect::<Result<_>>()?, "preserve-fd")
    };
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let inherited = descriptor::inherited()?;
    if let Some(missing) = numbers.iter().find(|number| !inherited.contains(number)) {
        return Err(CommandError::new(format!(
            "file descriptor {missing} is not available - the {option} option requires that file descriptors must be passed"
        )));
    }
    numbers.sort_unstable();
    numbers.dedup();
    let copy = |number| Ok(Passed { number, descriptor: descriptor::duplicate(number)? });
    Ok(numbers.into_iter().map(copy).collect::<crate::kernel::Result<_>>()?)
}
