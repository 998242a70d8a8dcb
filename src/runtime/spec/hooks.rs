//! The `hooks` section.

use oci_spec::runtime::{Hook as SpecHook, Hooks as SpecHooks};

use super::super::error::{Error, Result};
use super::super::plan::{Hook, Hooks};
use super::no_nul;

pub(super) fn hooks(spec: &SpecHooks) -> Result<Hooks> {
    Ok(Hooks {
        prestart: list(spec.prestart())?,
        create_runtime: list(spec.create_runtime())?,
        create_container: list(spec.create_container())?,
        start_container: list(spec.start_container())?,
        post_start: list(spec.poststart())?,
        post_stop: list(spec.poststop())?,
    })
}

fn list(spec: &Option<Vec<SpecHook>>) -> Result<Vec<Hook>> {
    spec.iter().flatten().map(hook).collect()
}

fn hook(spec: &SpecHook) -> Result<Hook> {
    let path = spec.path().clone();
    no_nul("hooks", &path)?;
    if !path.is_absolute() {
        return Err(Error::invalid("hooks", format!("`{}` is not an absolute path", path.display())));
    }
    let timeout = match spec.timeout() {
        None => None,
        Some(seconds) => {
            let seconds = u32::try_from(seconds).ok().filter(|seconds| *seconds > 0);
            Some(
                seconds
                    .ok_or_else(|| Error::invalid("hooks", "a timeout is a positive number of seconds"))?,
            )
        }
    };
    Ok(Hook {
        path,
        arguments: spec.args().clone().unwrap_or_default(),
        environment: spec.env().clone().unwrap_or_default(),
        timeout,
    })
}
