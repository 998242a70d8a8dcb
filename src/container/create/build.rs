//! Creating a container: from the request to its files.
//!
//! Everything is checked before anything is written, and the record is written last, so a
//! refused request leaves nothing behind (see [`crate::container::reserve`]).

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::Mode;

use super::extras::{Extras, artifact_files};
use super::joins::{self, Joined};
use super::record::{Parts, record};
use super::request::{CreateRequest, RootFs, UserNsMode};
use super::spec::{self, Generated, SpecInput};
use super::userns::{self, Caller};
use super::volumes;
use super::{default_mounts, hooks, host, labels};
use crate::config::Paths;
use crate::container::{ContainerId, Containers, Error, Record, Reservation, Result};
use crate::engine::Engine;
use crate::image::config::ImageConfig;
use crate::kernel::file::{Durability, Flock};
use crate::kernel::idmap::IdMaps;
use crate::kernel::{self, file};
use crate::network::port;
use crate::store::{ImageRecord, Store};

/// A new container.
#[derive(Debug)]
pub struct Created {
    /// Its record.
    pub record: Record,
    /// Its lock, for a start that follows at once.
    pub lock: Flock,
    /// What its files say, for a start that follows at once.
    pub blueprint: Blueprint,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What a container's processes are made from: `spec.json` and the extras of `request.json`.
#[derive(Debug)]
pub struct Blueprint {
    /// The runtime specification.
    pub spec: oci_spec::runtime::Spec,
    /// What it has no words for.
    pub extras: Extras,
}

/// An image that a container is made from.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) record: ImageRecord,
    /// Its full name, or nothing for one without.
    pub(super) name: String,
    pub(super) config: ImageConfig,
}

/// Creates a container.
///
/// # Errors
/// When the request cannot be met; nothing is left behind then.
pub fn create(engine: &Engine, mut request: CreateRequest) -> Result<Created> {
    let paths = engine.paths()?;
    let containers = engine.containers()?;
    let store = Store::open(paths)?;
    let config = engine.config()?;
    let (image, _guard) = find_image(&store, &mut request)?;

    let joined = joins::resolve(&containers, &mut request)?;
    volumes::of_others(&containers, &mut request)?;
    let volumes = volumes::complete(&store, &mut request, image.as_ref())?;
    check_sources(paths, &request)?;
    let maps = id_maps(engine, &containers, &request, &joined)?;
    complete_network(&mut request, image.as_ref())?;
    host::find_host_users(&mut request)?;
    let (cgroup, resources) = super::cgroup::resolve(engine, &request)?;

    let runtime = super::runtime::resolve(engine)?;
    let name = request.identity.name.as_deref();
    let reservation = match &request.identity.id {
        Some(id) => containers.reserve_again(id, name)?,
        None => containers.reserve(name)?,
    };
    let mut host = host::facts(&store, &request, config)?;
    host.resources = resources;
    host.joined_host_name = joined.host_name.clone();
    host.joined_host_pid = joined.host_pid;
    host.joined_host_network = joined.host_network;
    host.labels = labels::of_request(&containers, &request, &joined, &config.containers)?;
    host.volumes = volumes.table.dir().to_owned();
    host.fresh_volumes.clone_from(&volumes.fresh);
    host.volume_backings.clone_from(&volumes.backings);
    let mut generated = spec::generate(&SpecInput {
        id: &reservation.id,
        name: &reservation.name,
        request: &request,
        image: image.as_ref().map(|image| &image.config.config),
        config: &config.containers,
        env: engine.env(),
        maps: joined.user.is_none().then_some(&maps),
        directory: &reservation.dir,
        host: &host,
    })?;
    generated.extras.files.time_zone = host::time_zone(&request, config)?;
    request.extras.clone_from(&generated.extras);
    let file = engine.options.default_mounts_file.clone();
    default_mounts::add(
        &mut generated.spec,
        &file.unwrap_or_else(|| paths.config_home.join("containers/mounts.conf")),
    )?;
    let directories = match &engine.options.hooks_dirs {
        given if given.is_empty() => &config.engine.hooks_dir,
        given => given,
    };
    let binds = request.mounts.iter().any(|mount| matches!(mount.source, crate::volume::Source::Bind { .. }));
    hooks::add(&mut generated.spec, directories, binds)?;

    let unowned = make_root(&reservation, &store, image.as_ref(), &maps)?;
    make_files(&reservation, &generated, image.as_ref(), &request)?;
    volumes.create(&containers.events)?;
    let record = record(Parts {
        reservation: &reservation,
        request: &request,
        image: image.as_ref(),
        generated: &generated,
        joined: &joined,
        maps,
        unowned,
        anonymous: &volumes.anonymous,
        runtime,
        cgroup,
    })?;
    // What removes itself after its run is not worth a sync.
    let durability = if request.remove { Durability::None } else { Durability::Sync };
    let lock = reservation.commit(&record, &request, &generated.spec, durability)?;
    write_cid_file(&record)?;
    let mut event = record.event("create");
    if containers.events.wants_inspect_data()
        && let Ok(inspection) = containers.inspect(record.clone(), config, true)
    {
        event.container_inspect_data = inspection.to_json();
    }
    containers.events.emit(&[event]);
    let blueprint = Blueprint { spec: generated.spec, extras: generated.extras };
    Ok(Created { record, lock, blueprint, warnings: generated.warnings })
}

/// The image, and the guard that keeps it until the container's record holds it.
fn find_image(
    store: &Store,
    request: &mut CreateRequest,
) -> Result<(Option<Image>, Option<crate::store::ImageGuard>)> {
    let RootFs::Image { reference, id } = &mut request.rootfs else { return Ok((None, None)) };
    let found = store.find_image(id.as_deref().unwrap_or(reference))?;
    let guard = store.hold_image(&found.record.id)?;
    guard.record_use();
    let bytes = store.read_blob(&found.record.id.digest(), MAX_IMAGE_CONFIG)?;
    let config = ImageConfig::parse(&bytes).map_err(|source| Error::Damaged {
        path: format!("config of image {}", found.record.id).into(),
        source,
    })?;
    *id = Some(found.record.id.to_string());
    let name = match found.name {
        Some(name) => name,
        // Named by its id: any name that it has is better than none.
        None => store.names_of(&found.record.id)?.into_iter().next().map(|tag| tag.name).unwrap_or_default(),
    };
    Ok((Some(Image { record: found.record, name, config }), Some(guard)))
}

/// Larger image configs are not accepted by a pull either.
const MAX_IMAGE_CONFIG: u64 = 8 << 20;

/// Sources of bind mounts and artifacts must exist; they are not made.
fn check_sources(paths: &Paths, request: &CreateRequest) -> Result<()> {
    use crate::volume::Source;
    let sources = request.mounts.iter().filter_map(|mount| match &mount.source {
        Source::Bind { path } | Source::Overlay { path, .. } => Some(path),
        _ => None,
    });
    let root = match &request.rootfs {
        RootFs::Directory { path, .. } => Some(path),
        RootFs::Image { .. } => None,
    };
    for path in sources.chain(root) {
        rustix::fs::statfs(path).map_err(|errno| kernel::Error::path("statfs", path, errno))?;
    }
    for mount in &request.mounts {
        artifact_files(paths, mount)?;
    }
    Ok(())
}

fn id_maps(
    engine: &Engine,
    containers: &Containers,
    request: &CreateRequest,
    joined: &Joined,
) -> Result<IdMaps> {
    if let Some(maps) = &joined.maps {
        return Ok(maps.clone());
    }
    let user = engine.user_maps();
    let own = |map: &[kernel::idmap::IdRange]| kernel::idmap::to_outside(map, 0).unwrap_or(0);
    let caller = Caller { uid: own(&user.maps.uid), gid: own(&user.maps.gid), maps: &user.maps };
    let taken = match request.userns {
        UserNsMode::Auto { .. } => taken_ranges(containers)?,
        _ => IdMaps::default(),
    };
    match userns::maps(&request.userns, caller, &taken)? {
        Some(maps) => Ok(maps),
        // Somebody else's namespace: its ids are taken to be all of the user's.
        None => Ok(userns::maps(&UserNsMode::Host, caller, &taken)?.unwrap_or_default()),
    }
}

/// The ids that `auto` containers have now.
fn taken_ranges(containers: &Containers) -> Result<IdMaps> {
    let mut taken = IdMaps::default();
    for id in containers.ids()? {
        // A damaged record must not block the others.
        if let Ok(Some(other)) = containers.record(&id)
            && other.namespaces.user == "auto"
        {
            taken.uid.extend(other.root.maps.uid);
            taken.gid.extend(other.root.maps.gid);
        }
    }
    Ok(taken)
}

/// Fixes the ports: those of the image count for `-P`, and free ports of the host are chosen now.
fn complete_network(request: &mut CreateRequest, image: Option<&Image>) -> Result<()> {
    let mut exposed: BTreeSet<_> = request.expose.iter().copied().collect();
    for value in image.iter().flat_map(|image| image.config.config.exposed_ports.keys()) {
        // What an image says wrongly is no reason not to run it.
        exposed.extend(port::parse_expose(value).unwrap_or_default());
    }
    request.expose = exposed.into_iter().collect();
    let published: &[_] = if request.publish_all { &request.expose } else { &[] };
    let asked = port::assign(&request.network.ports, &[], port::free_host_port)?;
    request.network.ports = port::assign(&asked, published, port::free_host_port)?;
    if request.security.profile.is_strict() {
        for port in request.network.ports.iter_mut().filter(|port| !asked.contains(port)) {
            port.host_ip = Some(Ipv4Addr::LOCALHOST.into());
        }
    }
    Ok(())
}

/// Makes the directories and small files that the mounts of the spec need.
fn make_files(
    reservation: &Reservation,
    generated: &Generated,
    image: Option<&Image>,
    request: &CreateRequest,
) -> Result<()> {
    let dir = &reservation.dir;
    make_dir(&dir.join("etc"), 0o755)?;
    for overlay in &generated.overlays {
        for name in ["upper", "work"] {
            make_dir(&dir.join(overlay).join(name), 0o755)?;
        }
    }
    let hostname = format!("{}\n", generated.host_name);
    let mark = container_mark(&reservation.id, &reservation.name, image, request);
    for (name, text) in [("hosts", ""), ("resolv.conf", ""), ("hostname", &hostname), ("containerenv", &mark)]
    {
        let mode = Mode::from_raw_mode(0o644);
        file::write_atomic(&dir.join("etc"), name.as_ref(), text.as_bytes(), mode, Durability::None)?;
    }
    Ok(())
}

/// Makes the directories of the root file system. The upper one shows as `/`, so it gets the mode that the
/// image has there; whether it needs another owner than the caller is returned.
fn make_root(reservation: &Reservation, store: &Store, image: Option<&Image>, maps: &IdMaps) -> Result<bool> {
    let dir = &reservation.dir;
    let (mode, owner) = match image {
        Some(image) => {
            let attributes = store.root_attributes(&image.record.mount_layers(), maps)?;
            (attributes.mode, (attributes.uid, attributes.gid))
        }
        None => (0o755, (0, 0)),
    };
    make_dir(&dir.join("upper"), mode)?;
    for name in ["work", "merged"] {
        make_dir(&dir.join(name), 0o755)?;
    }
    Ok(owner != (0, 0))
}

/// `/run/.containerenv` says what the container is, but only to those who are trusted with it.
fn container_mark(id: &ContainerId, name: &str, image: Option<&Image>, request: &CreateRequest) -> String {
    if !request.security.privileged {
        return String::new();
    }
    let (image_name, image_id) =
        image.map(|image| (image.name.as_str(), image.record.id.as_str())).unwrap_or_default();
    let rootless = u8::from(!rustix::process::geteuid().is_root());
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "engine=\"podman-rbox-{version}\"\nname={name:?}\nid={:?}\nimage={image_name:?}\nimageid={image_id:?}\nrootless={rootless}\n",
        id.as_str()
    )
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|e| kernel::Error::path("mkdir", path, e))?;
    let mode = Mode::from_raw_mode(mode);
    rustix::fs::chmod(path, mode).map_err(|e| kernel::Error::path("chmod", path, e))?;
    Ok(())
}

/// The id goes to `--cidfile`; what stood there is replaced.
fn write_cid_file(record: &Record) -> Result<()> {
    use std::io::Write as _;
    let Some(path) = &record.lifecycle.cid_file else { return Ok(()) };
    let failed = |e| kernel::Error::path("open", path, e);
    let mut file = std::fs::File::create(path).map_err(failed)?;
    file.write_all(record.id.as_str().as_bytes()).map_err(failed)?;
    Ok(())
}
