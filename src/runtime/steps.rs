//! The steps that a child takes from its clone to the exec of its program.
//!
//! The order is the design: each step stands where it stands for the reason
//! beside it. Change it only with a reason, and write that down here.

/// A step of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Taken by the process in between, where there is one; not in the tables.
    JoinNamespaces,
    ArrangeDescriptors,
    WaitForMaps,
    BecomeRoot,
    ProtectExecutable,
    NewSession,
    NewKeyring,
    NewTimeNamespace,
    NewCgroupNamespace,
    LoopbackUp,
    IsolateMounts,
    MountRoot,
    MountAll,
    MakeDevices,
    SetKernelParameters,
    SetHostName,
    WriteFiles,
    FindUser,
    ChangeOwners,
    MakeWorkingDirectory,
    CreateContainerHooks,
    MaskPaths,
    RestrictRoot,
    WaitForSurroundings,
    FillCopies,
    EnterRoot,
    OpenTerminal,
    SetPersonality,
    SetLimits,
    OwnStreams,
    LimitBounding,
    ChangeDirectory,
    ChangeIds,
    SetCapabilities,
    FindProgram,
    WaitForStart,
    StartContainerHooks,
    ForkInit,
    CloseDescriptors,
    ResetSignals,
    Confine,
    Execute,
}

/// From the clone of a container's first process to its program.
pub(super) const CONTAINER: &[Step] = &[
    // First: whatever is opened later must not land on 0, 1, 2 or a descriptor meant for the program.
    Step::ArrangeDescriptors,
    // Without maps no id exists here: files could be neither opened nor made by name of an owner.
    Step::WaitForMaps,
    // Everything below is made by the container's root, whichever user the program runs as.
    Step::BecomeRoot,
    // Before anything of the image is visible: an exec of /proc/self/exe from then on must not
    // reach a binary that the container's root, who is the caller, could write (CVE-2019-5736).
    Step::ProtectExecutable,
    // The caller's terminal must not be ours: TIOCSTI would type into it (CVE-2017-5226).
    Step::NewSession,
    // Before any code of the image: the caller's keys are possessed through the session keyring.
    Step::NewKeyring,
    // Takes effect at the exec; its offsets can be written only before.
    Step::NewTimeNamespace,
    // Here and not in the clone: its root is the cgroup in which the process is now.
    Step::NewCgroupNamespace,
    Step::LoopbackUp,
    // Before the first mount, or it would appear on the host.
    Step::IsolateMounts,
    Step::MountRoot,
    // While the host is still visible: bind mounts come from there.
    Step::MountAll,
    Step::MakeDevices,
    // Through a procfs of our own, before /proc/sys becomes read-only.
    Step::SetKernelParameters,
    Step::SetHostName,
    // What is written may be mounted over, so after the mounts; and before the root may become read-only.
    Step::WriteFiles,
    Step::FindUser,
    Step::ChangeOwners,
    Step::MakeWorkingDirectory,
    // In the container's namespaces, but with the host's files in sight, as the spec has it.
    Step::CreateContainerHooks,
    // After everything that has to write to /proc, /sys or the root.
    Step::MaskPaths,
    Step::RestrictRoot,
    // As late as possible: the network comes up while we mount.
    Step::WaitForSurroundings,
    // /etc/hosts is written once the network is known; and after the pivot it is out of reach.
    Step::FillCopies,
    Step::EnterRoot,
    // On the container's own devpts, inside its root.
    Step::OpenTerminal,
    Step::SetPersonality,
    // Before the ids: root may raise what the user may not.
    Step::SetLimits,
    Step::OwnStreams,
    // Needs CAP_SETPCAP, which goes with the ids.
    Step::LimitBounding,
    // With root's rights, which see every directory; checked to be inside (CVE-2024-21626).
    Step::ChangeDirectory,
    Step::ChangeIds,
    Step::SetCapabilities,
    // As the user who runs it: what she cannot reach does not exist.
    Step::FindProgram,
    Step::WaitForStart,
    Step::StartContainerHooks,
    // The init keeps the ids and capabilities of the program, not its seccomp filter.
    Step::ForkInit,
    // Behind the last use of a descriptor; only what was asked for survives the exec.
    Step::CloseDescriptors,
    // Blocked and ignored signals survive an exec.
    Step::ResetSignals,
    // AppArmor's profile (which counts from the exec on), no_new_privs, Landlock, seccomp, and what capabilities
    // loading the filter still needed: nothing but the exec comes after, so a filter needs to allow nothing for us but
    // capset and execve.
    Step::Confine,
    Step::Execute,
];

/// From the fork inside a running container to the program of `exec`.
pub(super) const PROCESS: &[Step] = &[
    Step::ArrangeDescriptors,
    Step::BecomeRoot,
    Step::ProtectExecutable,
    Step::NewSession,
    Step::NewKeyring,
    // The root was entered by joining the mount namespace.
    Step::FindUser,
    Step::OpenTerminal,
    Step::SetPersonality,
    Step::SetLimits,
    Step::OwnStreams,
    Step::LimitBounding,
    Step::ChangeDirectory,
    Step::ChangeIds,
    Step::SetCapabilities,
    Step::FindProgram,
    Step::WaitForStart,
    Step::CloseDescriptors,
    Step::ResetSignals,
    Step::Confine,
    Step::Execute,
];

impl Step {
    /// What is said when the step fails.
    pub(super) const fn doing(self) -> &'static str {
        match self {
            Self::JoinNamespaces => "joining namespaces",
            Self::ArrangeDescriptors => "arranging descriptors",
            Self::WaitForMaps => "waiting for the id maps",
            Self::BecomeRoot => "becoming root in the user namespace",
            Self::ProtectExecutable => "protecting the rbox executable",
            Self::NewSession => "making a session",
            Self::NewKeyring => "making a session keyring",
            Self::NewTimeNamespace => "making a time namespace",
            Self::NewCgroupNamespace => "making a cgroup namespace",
            Self::LoopbackUp => "bringing the loopback interface up",
            Self::IsolateMounts => "isolating mounts from the host",
            Self::MountRoot => "mounting the root file system",
            Self::MountAll => "mounting",
            Self::MakeDevices => "making devices",
            Self::SetKernelParameters => "setting kernel parameters",
            Self::SetHostName => "setting the host name",
            Self::WriteFiles => "writing files of the engine",
            Self::FindUser => "finding the user",
            Self::ChangeOwners => "changing owners of volumes",
            Self::MakeWorkingDirectory => "making the working directory",
            Self::CreateContainerHooks | Self::StartContainerHooks => "running hooks",
            Self::MaskPaths => "masking paths",
            Self::RestrictRoot => "restricting the root file system",
            Self::WaitForSurroundings => "waiting for the network",
            Self::FillCopies => "copying files of the engine",
            Self::EnterRoot => "entering the root file system",
            Self::OpenTerminal => "opening a terminal",
            Self::SetPersonality => "setting the personality",
            Self::SetLimits => "setting resource limits",
            Self::OwnStreams => "handing over the standard streams",
            Self::LimitBounding => "limiting the bounding set of capabilities",
            Self::ChangeDirectory => "entering the working directory",
            Self::ChangeIds => "changing user and groups",
            Self::SetCapabilities => "setting capabilities",
            Self::FindProgram => "finding the program",
            Self::WaitForStart => "waiting for the start",
            Self::ForkInit => "starting the init process",
            Self::CloseDescriptors => "closing descriptors",
            Self::ResetSignals => "resetting signals",
            Self::Confine => "confining the program",
            Self::Execute => "executing the program",
        }
    }
}
