//! The login session: where volatile state is, and whether containers outlive it.

use std::path::{Path, PathBuf};

use super::{Finding, chain, id};
use crate::config::env::name;
use crate::config::subid;
use crate::engine::Engine;

/// Where systemd notes whose processes stay after the logout.
const LINGER_DIR: &str = "/var/lib/systemd/linger";

pub(super) fn runtime_dir(engine: &Engine) -> Finding {
    match engine.paths() {
        Ok(paths) => judge_runtime_dir(&paths.run, engine.env().absolute(name::XDG_RUNTIME_DIR)),
        Err(error) => Finding::problem(id::RUNTIME_DIR, chain(&error), "every command"),
    }
}

fn judge_runtime_dir(run: &Path, session: Option<PathBuf>) -> Finding {
    let place = run.display();
    if run.starts_with("/tmp") {
        return Finding::warning(
            id::RUNTIME_DIR,
            format!("$XDG_RUNTIME_DIR is not set and there is no /run/user/UID: volatile state is in {place}"),
            "other sessions of yours in which it is set do not see what runs here, and cleaners of /tmp may remove it",
        )
        .fix("log in through systemd (ssh, or `machinectl shell USER@`) instead of su or sudo");
    }
    match session {
        Some(_) => Finding::ok(id::RUNTIME_DIR, format!("volatile state is in {place}")),
        None => {
            Finding::ok(id::RUNTIME_DIR, format!("$XDG_RUNTIME_DIR is not set; volatile state is in {place}"))
        }
    }
}

pub(super) fn linger(engine: &Engine) -> Finding {
    let env = engine.env();
    let user = subid::login_names(env, env.uid()).into_iter().next().unwrap_or_else(|| env.uid().to_string());
    let has_systemd = Path::new("/run/systemd/system").is_dir();
    judge_linger(&user, env.uid() == 0, has_systemd, Path::new(LINGER_DIR).join(&user).exists())
}

fn judge_linger(user: &str, is_root: bool, has_systemd: bool, lingers: bool) -> Finding {
    match () {
        () if is_root || !has_systemd => Finding::ok(id::LINGER, "nobody ends processes at the logout"),
        () if lingers => Finding::ok(id::LINGER, format!("processes of {user} stay after the logout")),
        () => Finding::warning(
            id::LINGER,
            format!("systemd may end all processes of {user} at the last logout"),
            "detached containers after the logout, and containers that start at boot",
        )
        .fix(format!("sudo loginctl enable-linger {user}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn linger_matters_to_users_of_systemd() {
        assert_eq!(judge_linger("alice", false, false, false).status, Status::Ok);
        assert_eq!(judge_linger("alice", false, true, true).status, Status::Ok);
        let finding = judge_linger("alice", false, true, false);
        assert_eq!(
            (finding.status, finding.fix.as_str()),
            (Status::Warning, "sudo loginctl enable-linger alice")
        );
    }

    #[test]
    fn state_in_tmp_is_a_warning() {
        assert_eq!(judge_runtime_dir(Path::new("/tmp/rbox-run-1000"), None).status, Status::Warning);
        assert_eq!(judge_runtime_dir(Path::new("/run/user/1000/rbox"), None).status, Status::Ok);
    }
}
