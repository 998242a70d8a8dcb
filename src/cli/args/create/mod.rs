//! The flags of `run` and `create`.
//!
//! Grouped as podman's manual groups them; every flag of podman is here with its names and
//! its rules of repetition.

pub mod health;
mod identity;
mod network;
pub(in crate::cli) mod process;
pub mod request;
mod resources;
mod security;
mod storage;

pub use health::HealthArgs;
pub use identity::{IdentityArgs, ImageArgs};
pub use network::NetworkArgs;
pub use process::ProcessArgs;
pub use resources::ResourceArgs;
pub use security::SecurityArgs;
pub use storage::StorageArgs;

/// The flags that `run` and `create` share.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CreateArgs {
    /// The first process.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Names and labels.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The image.
    #[command(flatten)]
    pub image: ImageArgs,
    /// File systems.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// The network.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Confinement.
    #[command(flatten)]
    pub security: SecurityArgs,
    /// Limits, pods.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Health checks.
    #[command(flatten)]
    pub health: HealthArgs,
    /// The image, or a directory with `--rootfs`.
    #[arg(value_name = "IMAGE")]
    pub image_name: String,
    /// The command and its arguments; flags end at the image.
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::CreateArgs;
    use clap::{Args as _, Command};

    #[test]
    fn flags_are_consistent() {
        CreateArgs::augment_args(Command::new("run").disable_help_flag(true)).debug_assert();
    }
}
