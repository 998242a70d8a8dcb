//! The network of one run of a container, inside its monitor: the driver, and the files about it.
//!
//! `DATA/containers/ID/etc/{hosts,resolv.conf,hostname}` are bound into the container. They
//! exist before the mounts are made, and are filled in place once the addresses are known,
//! because another file under the same name would not be the bound one.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::record::{Port, Root};
use super::reserve::make_dir;
use super::{Containers, Error, Record, Result};
use crate::config::{Config, Env, Paths};
use crate::kernel;
use crate::kernel::idmap::to_outside;
use crate::kernel::path::RootDir;
use crate::kernel::process::Pid;
use crate::network::hosts::Hosts;
use crate::network::resolv::{self, Resolv};
use crate::network::{self, Context, Driver, Mode, PortMapping, Request, Status, address};
use crate::store::Store;

/// The longest hosts file or resolv.conf that is read.
const MAX_FILE: u64 = 1 << 20;

/// What a network is made from, besides the record.
#[derive(Debug, Clone)]
pub struct Settings {
    /// containers.conf.
    pub config: Config,
    /// The caller's environment.
    pub env: Env,
}

/// The network of one run.
#[derive(Debug)]
pub(super) struct RunNetwork {
    driver: Box<dyn Driver>,
    mode: Mode,
    etc: PathBuf,
}

impl RunNetwork {
    /// Chooses the driver. Changes nothing yet.
    pub(super) fn plan(
        containers: &Containers,
        record: &Record,
        paths: &Paths,
        settings: &Settings,
    ) -> Result<Self> {
        let request = request(record)?;
        let context = Context {
            config: &settings.config,
            env: &settings.env,
            paths,
            state_dir: &containers.run_dir(&record.id),
        };
        let driver = network::driver(&request, context)?;
        Ok(Self { driver, mode: request.mode, etc: containers.dir(&record.id).join("etc") })
    }

    /// Makes the files, so that they can be bound. The process is root of H.
    pub(super) fn make_files(&self, record: &Record) -> Result<()> {
        make_dir(&self.etc)?;
        for name in file_names(record) {
            self.open(record, name)?;
        }
        if !record.network.no_hostname {
            self.write(record, "hostname", &format!("{}\n", record.network.hostname))?;
        }
        Ok(())
    }

    /// Starts to connect the namespace of `init`.
    pub(super) fn setup(&mut self, init: Pid) -> Result<()> {
        Ok(self.driver.setup(init)?)
    }

    /// Waits until it is connected, and writes the files.
    pub(super) fn finish(
        &mut self,
        containers: &Containers,
        record: &Record,
        settings: &Settings,
    ) -> Result<Status> {
        let status = self.driver.wait()?;
        if let Mode::Container(other) = &self.mode {
            self.copy_files(containers, record, other)?;
            return Ok(status);
        }
        let wanted = file_names(record);
        if wanted.contains(&"hosts") {
            let text = self.hosts(containers, record, settings, &status)?;
            self.write(record, "hosts", &text)?;
        }
        if wanted.contains(&"resolv.conf") {
            let text = self.resolv_conf(record, settings, &status);
            self.write(record, "resolv.conf", &text)?;
        }
        Ok(status)
    }

    /// Becomes readable when the connection is lost.
    pub(super) fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.driver.watch()
    }

    /// What has happened to the connection, in words.
    pub(super) fn lost(&mut self) -> Option<String> {
        self.driver.lost()
    }

    /// Undoes the connection.
    pub(super) fn teardown(&mut self) {
        self.driver.teardown();
    }

    /// A joined network has the names and servers of its owner.
    fn copy_files(&self, containers: &Containers, record: &Record, other: &str) -> Result<()> {
        let etc = containers.dir(&containers.lookup(other)?.id).join("etc");
        for name in file_names(record) {
            // The other may have been told to keep its image's file.
            if let Some(text) = read_host(&etc.join(name))? {
                self.write(record, name, &text)?;
            }
        }
        Ok(())
    }

    fn hosts(
        &self,
        containers: &Containers,
        record: &Record,
        settings: &Settings,
        status: &Status,
    ) -> Result<String> {
        let configured = &settings.config.containers;
        let base = match record.network.hosts_file.as_str() {
            "" => configured.base_hosts_file.as_str(),
            given => given,
        };
        let base = match base {
            "none" => String::new(),
            "image" => image_hosts(&Store::open_at(&containers.data)?, &record.root)?,
            // A host without the file is an odd one, but no reason not to start.
            "" => read_host(Path::new("/etc/hosts"))?.unwrap_or_default(),
            path => fs::read_to_string(path)
                .map_err(|source| network::Error::Read { path: path.into(), source })?,
        };
        let host_address = match configured.host_containers_internal_ip.as_str() {
            "" => status
                .host_address
                .or_else(|| address::host_address(&status.addresses))
                .map(|ip| ip.to_string()),
            "none" => None,
            given => Some(given.to_owned()),
        };
        let own_address = match &self.mode {
            Mode::None => Some(IpAddr::from([127, 0, 0, 1])),
            _ => status.addresses.first().copied(),
        };
        let mut own_names = vec![record.network.hostname.clone(), record.name.clone()];
        own_names.dedup();
        let hosts = Hosts {
            base: &base,
            extra: &record.network.extra_hosts,
            host_address: host_address.as_deref(),
            own_address,
            own_names: &own_names,
        };
        Ok(hosts.render()?)
    }

    fn resolv_conf(&self, record: &Record, settings: &Settings, status: &Status) -> String {
        let configured = &settings.config.containers;
        let joined = |first: &[String], then: &[String]| [first, then].concat();
        let host_network = self.mode == Mode::Host;
        let host = host_resolv_conf(&self.mode, host_network);
        let resolv = Resolv {
            host: &host,
            host_network,
            ipv6: status.ipv6,
            servers: &joined(&configured.dns_servers, &record.network.dns_servers),
            network_servers: &status.dns_servers,
            search: &joined(&configured.dns_searches, &record.network.dns_search),
            options: &joined(&configured.dns_options, &record.network.dns_options),
        };
        resolv.render()
    }

    /// Opens a file for writing; it belongs to the container's root and is readable by all inside.
    fn open(&self, record: &Record, name: &str) -> Result<fs::File> {
        let path = self.etc.join(name);
        let error = |source| Error::from(kernel::Error::path("open", &path, source));
        let file = fs::File::options().write(true).create(true).truncate(false).open(&path).map_err(error)?;
        let root = |map| to_outside(map, 0).unwrap_or(0);
        let (uid, gid) = (root(&record.root.maps.uid), root(&record.root.maps.gid));
        let meta = file.metadata().map_err(error)?;
        if (meta.uid(), meta.gid()) != (uid, gid) {
            fchown(&file, Some(uid), Some(gid)).map_err(error)?;
        }
        // Whatever the umask of the caller is.
        file.set_permissions(fs::Permissions::from_mode(0o644)).map_err(error)?;
        Ok(file)
    }

    fn write(&self, record: &Record, name: &str, text: &str) -> Result<()> {
        let mut file = self.open(record, name)?;
        let written = file.set_len(0).and_then(|()| file.write_all(text.as_bytes()));
        written.map_err(|source| kernel::Error::path("write", self.etc.join(name), source).into())
    }
}

/// The files that are filled once the network is there.
fn file_names(record: &Record) -> Vec<&'static str> {
    let mut names = Vec::new();
    if !record.network.no_hosts {
        names.push("hosts");
    }
    if !record.network.no_resolv_conf && record.network.mode != "none" {
        names.push("resolv.conf");
    }
    names
}

/// The text of a file of the host; `None` where there is no such file.
fn read_host(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(network::Error::Read { path: path.to_owned(), source }.into()),
    }
}

/// The host's resolv.conf, or the one that stands behind a local resolver. `ip netns` keeps
/// files for namespaces by name.
fn host_resolv_conf(mode: &Mode, host_network: bool) -> String {
    let read = |path: &Path| read_host(path).ok().flatten();
    if let Mode::Path(path) = mode
        && let Some(name) = path.file_name().filter(|_| !path.starts_with("/proc"))
        && let Some(text) = read(&Path::new("/etc/netns").join(name).join("resolv.conf"))
    {
        return text;
    }
    let text = read(Path::new("/etc/resolv.conf")).unwrap_or_default();
    let real = resolv::real_file(&text).filter(|_| !host_network);
    real.and_then(|path| read(Path::new(path))).unwrap_or(text)
}

/// The image's own /etc/hosts: that of the highest layer that has one.
fn image_hosts(store: &Store, root: &Root) -> Result<String> {
    let mut dirs = Vec::new();
    for text in root.layers.iter().rev() {
        let id = text.parse().map_err(|_| Error::Invalid { what: format!("{text:?} is not a layer id") })?;
        dirs.extend(store.layer(&id)?.map(|layer| layer.diff()));
    }
    dirs.extend(root.directory.clone());
    for dir in dirs {
        match RootDir::open(&dir)?.read_limited("etc/hosts", MAX_FILE) {
            Ok(bytes) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(String::new())
}

/// The record's network as the network layer takes it.
fn request(record: &Record) -> Result<Request> {
    let wanted = &record.network;
    let mode = match wanted.mode.parse()? {
        Mode::Pasta(options) if options.is_empty() => Mode::Pasta(wanted.options.clone()),
        mode => mode,
    };
    let ports = wanted.ports.iter().map(mapping).collect::<Result<_>>()?;
    Ok(Request { mode, ports, ..Request::default() })
}

fn mapping(port: &Port) -> Result<PortMapping> {
    let syntax = || Error::Invalid { what: format!("{:?} is not an address", port.host_ip) };
    let host_ip = match port.host_ip.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| syntax())?),
    };
    Ok(PortMapping {
        host_ip,
        host_port: port.host_port,
        container_port: port.container_port,
        range: port.range,
        protocol: port.protocol.parse()?,
    })
}
