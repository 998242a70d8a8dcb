//! The long form: `--mount type=TYPE,source=…,target=…,…`.

use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::mount::{Access, Mount, MountOptions, Propagation, Relabel, Source};
use super::{path, short};

/// Parses the fields of one `--mount` value; relative sources are taken below `cwd`.
///
/// The caller has split the value into its CSV fields.
///
/// # Errors
/// In podman's words for every value that it refuses.
pub fn parse_mount(fields: &[String], cwd: &Path) -> Result<Mount> {
    let kind_at = fields.iter().position(|f| f.strip_prefix("type=").is_some_and(|kind| !kind.contains('=')));
    let kind = kind_at.map_or("volume", |at| &fields[at]["type=".len()..]);
    let rest =
        fields.iter().enumerate().filter(|(at, _)| Some(*at) != kind_at).map(|(_, field)| field.as_str());
    match kind {
        "bind" => Fields::parse("bind", rest)?.bind(cwd),
        "volume" => Fields::parse("volume", rest)?.volume(),
        "tmpfs" => Fields::parse("tmpfs", rest)?.tmpfs(),
        "ramfs" => Fields::parse("ramfs", rest)?.ramfs(),
        "glob" => Fields::parse("glob", rest)?.glob(cwd),
        "devpts" => devpts(rest),
        "image" => image(rest),
        "artifact" => artifact(rest),
        _ => Err(Error::Type { kind: kind.to_owned() }),
    }
}

/// The fields that bind, volume, tmpfs, ramfs and glob share.
#[derive(Debug, Default)]
struct Fields {
    kind: &'static str,
    source: Option<String>,
    destination: Option<PathBuf>,
    subpath: Option<PathBuf>,
    copy_up: Option<bool>,
    options: MountOptions,
    /// Which of the options that exclude each other were given.
    seen: Vec<&'static str>,
}

impl Fields {
    fn parse<'a>(kind: &'static str, fields: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut parsed = Self { kind, ..Self::default() };
        for field in fields {
            let (name, value) = match field.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (field, None),
            };
            parsed.field(name, value)?;
        }
        if kind != "glob" && parsed.destination.is_none() {
            return Err(Error::NoDestination);
        }
        Ok(parsed)
    }

    fn field(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        match name {
            "src" | "source" => self.set_source(name, value),
            "target" | "dst" | "dest" | "destination" => {
                if self.destination.is_some() {
                    return Err(Error::Again { which: format!("{name:?} option") });
                }
                self.destination = Some(path::container(argument(name, value)?)?);
                Ok(())
            }
            "subpath" | "volume-subpath" => {
                if self.kind != "volume" {
                    return Err(Error::Option {
                        option: format!("cannot set option {name:?} on non-volume mounts"),
                    });
                }
                self.subpath = Some(path::clean(&Path::new("/").join(argument(name, value)?)));
                Ok(())
            }
            "tmpcopyup" | "notmpcopyup" => {
                self.only("tmpfs", name)?;
                self.once("'tmpcopyup' and 'notmpcopyup' mnt.Options")?;
                self.copy_up = Some(name == "tmpcopyup");
                Ok(())
            }
            "tmpfs-mode" | "tmpfs-size" => {
                self.only("tmpfs", name)?;
                let key = &name["tmpfs-".len()..];
                self.options.data.push(format!("{key}={}", argument(name, value)?));
                Ok(())
            }
            "volume-opt" => {
                self.only("volume", name)?;
                self.options.volume_options.push(argument(name, value)?.to_owned());
                Ok(())
            }
            "volume-label" => Err(Error::Rule("the --volume-label option is not presently implemented")),
            // A word of Docker for other systems, without a meaning here.
            "consistency" => Ok(()),
            _ => self.option(name, value),
        }
    }

    fn option(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        match name {
            "bind-nonrecursive" => {
                self.only("bind", name)?;
                self.options.non_recursive = value.is_none_or(|v| v != "false");
            }
            "bind-propagation" => {
                self.only("bind", name)?;
                let word = argument(name, value)?;
                let propagation = Propagation::parse(word)
                    .ok_or_else(|| Error::Option { option: format!("invalid value \"{name}={word}\"") })?;
                self.options.propagation = Some(propagation);
            }
            "readonly" | "ro" | "rw" => self.access(name, value)?,
            "nodev" | "dev" => self.flag("'nodev' and 'dev' mnt.Options", name, value)?,
            "noexec" | "exec" => self.flag("'noexec' and 'exec' mnt.Options", name, value)?,
            "nosuid" | "suid" => self.flag("'nosuid' and 'suid' mnt.Options", name, value)?,
            "noswap" => return Err(Error::Rule(short::NO_SWAP)),
            "relabel" => {
                self.once("'relabel' option")?;
                self.options.relabel = Some(match value {
                    Some("private") => Relabel::Private,
                    Some("shared") => Relabel::Shared,
                    _ => {
                        let option = format!("{name} mount option must be 'private' or 'shared'");
                        return Err(Error::Option { option });
                    }
                });
            }
            "U" | "chown" => {
                self.once("'U' or 'chown' option")?;
                self.options.chown = match value.map(str::to_ascii_lowercase).as_deref() {
                    None | Some("" | "true") => true,
                    Some("false") => false,
                    Some(other) => {
                        let option = format!(
                            "'U' or 'chown' must be set to true or false, instead received {other:?}"
                        );
                        return Err(Error::Argument { option });
                    }
                };
            }
            "idmap" => self.options.idmap = Some(value.unwrap_or_default().to_owned()),
            "no-dereference" => self.options.no_dereference = true,
            "z" | "Z" => self.flag("'z' and 'Z' options", name, value)?,
            _ if value.is_none() && Propagation::parse(name).is_some() => {
                self.options.propagation = Propagation::parse(name);
            }
            _ => return Err(Error::Option { option: name.to_owned() }),
        }
        Ok(())
    }

    /// `ro`, `ro=true`, `readonly`, `rw=false`, …; `ro=false` leaves the default.
    fn access(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        self.once("'readonly', 'ro', or 'rw' mnt.Options")?;
        let on = match value.map(str::to_ascii_lowercase).as_deref() {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(Error::Option { option: format!("{name}={}", value.unwrap_or_default()) }),
        };
        let read_only = (name == "rw") != on;
        self.options.access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
        Ok(())
    }

    fn flag(&mut self, group: &'static str, name: &str, value: Option<&str>) -> Result<()> {
        self.once(group)?;
        match value {
            None if short::common(&mut self.options, name) => Ok(()),
            _ => Err(Error::Option { option: name.to_owned() }),
        }
    }

    fn set_source(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        if matches!(self.kind, "tmpfs" | "ramfs") {
            return Err(Error::WrongType { option: name.to_owned(), kind: self.kind });
        }
        if self.source.is_some() {
            return Err(Error::Again { which: format!("{name:?} option") });
        }
        let value = argument(name, value)?;
        if value.is_empty() {
            return Err(Error::Argument { option: "host directory cannot be empty".to_owned() });
        }
        self.source = Some(value.to_owned());
        Ok(())
    }

    fn only(&self, kind: &'static str, option: &str) -> Result<()> {
        if self.kind == kind {
            return Ok(());
        }
        Err(Error::WrongType { option: option.to_owned(), kind: self.kind })
    }

    fn once(&mut self, group: &'static str) -> Result<()> {
        if self.seen.contains(&group) {
            return Err(Error::Again { which: group.to_owned() });
        }
        self.seen.push(group);
        Ok(())
    }

    fn finish(self, source: Source) -> Result<Mount> {
        Ok(Mount {
            destination: self.destination.ok_or(Error::NoDestination)?,
            source,
            options: self.options,
        })
    }

    fn bind(self, cwd: &Path) -> Result<Mount> {
        let destination = self.destination.clone().ok_or(Error::NoDestination)?;
        // Without a source the same path of the host is meant.
        let path = self.source.as_deref().map_or(destination, |source| path::host(source, cwd));
        self.finish(Source::Bind { path })
    }

    fn volume(self) -> Result<Mount> {
        let source = Source::Volume { name: self.source.clone(), subpath: self.subpath.clone() };
        self.finish(source)
    }

    fn tmpfs(self) -> Result<Mount> {
        let copy_up = self.copy_up.unwrap_or(true);
        self.finish(Source::Tmpfs { copy_up })
    }

    fn ramfs(self) -> Result<Mount> {
        self.finish(Source::Ramfs)
    }

    fn glob(self, cwd: &Path) -> Result<Mount> {
        let pattern = self.source.as_deref().ok_or(Error::EmptySource)?;
        let pattern = path::host(pattern, cwd).to_string_lossy().into_owned();
        // Without a destination each match keeps its own path; "/" stands for that until expansion.
        let keep_paths = self.destination.is_none();
        let destination = self.destination.clone().unwrap_or_else(|| PathBuf::from("/"));
        Ok(Mount { destination, source: Source::Glob { pattern, keep_paths }, options: self.options })
    }
}

/// The argument of an option that needs one.
fn argument<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str> {
    value.ok_or_else(|| Error::Argument { option: name.to_owned() })
}

fn devpts<'a>(fields: impl Iterator<Item = &'a str>) -> Result<Mount> {
    let mut options = MountOptions::default();
    let mut destination = None;
    for field in fields {
        let (name, value) = field.split_once('=').map_or((field, None), |(n, v)| (n, Some(v)));
        match name {
            "uid" | "gid" | "mode" | "ptmxmode" | "newinstance" | "max" => {
                options.data.push(field.to_owned());
            }
            "target" | "dst" | "dest" | "destination" => {
                destination = Some(path::container(argument(name, value)?)?);
            }
            _ => return Err(Error::Option { option: name.to_owned() }),
        }
    }
    Ok(Mount { destination: destination.ok_or(Error::NoDestination)?, source: Source::Devpts, options })
}

fn image<'a>(fields: impl Iterator<Item = &'a str>) -> Result<Mount> {
    let mut options = MountOptions { access: Access::ReadOnly, ..MountOptions::default() };
    let (mut reference, mut destination, mut subpath) = (None, None, None);
    for field in fields {
        let (name, value) = field.split_once('=').map_or((field, None), |(n, v)| (n, Some(v)));
        match name {
            "src" | "source" => reference = Some(argument(name, value)?.to_owned()),
            "target" | "dst" | "dest" | "destination" => {
                destination = Some(path::container(argument(name, value)?)?);
            }
            "rw" | "readwrite" => match value {
                Some("true") => options.access = Access::ReadWrite,
                Some("false") => {}
                _ => {
                    let option = format!("invalid rw value {:?}", value.unwrap_or_default());
                    return Err(Error::Option { option });
                }
            },
            "subpath" => {
                let text = argument(name, value)?;
                let absolute = path::absolute(text).ok_or_else(|| Error::Option {
                    option: format!("volume subpath {text:?} must be an absolute path"),
                })?;
                subpath = Some(absolute);
            }
            "consistency" => {}
            _ => return Err(Error::Option { option: name.to_owned() }),
        }
    }
    let reference = reference.filter(|r| !r.is_empty());
    let (Some(reference), Some(destination)) = (reference, destination) else {
        return Err(Error::Rule("must set source and destination for image volume"));
    };
    Ok(Mount { destination, source: Source::Image { reference, subpath }, options })
}

fn artifact<'a>(fields: impl Iterator<Item = &'a str>) -> Result<Mount> {
    let options = MountOptions { access: Access::ReadOnly, ..MountOptions::default() };
    let (mut reference, mut destination) = (None, None);
    let (mut digest, mut title, mut file) = (None, None, None);
    for field in fields {
        let (name, value) = field.split_once('=').map_or((field, None), |(n, v)| (n, Some(v)));
        let slot = match name {
            "src" | "source" => &mut reference,
            "digest" => &mut digest,
            "title" => &mut title,
            "name" => &mut file,
            "target" | "dst" | "dest" | "destination" => {
                destination = Some(path::container(argument(name, value)?)?);
                continue;
            }
            _ => return Err(Error::Option { option: name.to_owned() }),
        };
        *slot = Some(argument(name, value)?.to_owned()).filter(|text| !text.is_empty());
    }
    let (Some(reference), Some(destination)) = (reference, destination) else {
        return Err(Error::Rule("must set source and destination for artifact volume"));
    };
    if digest.is_some() && title.is_some() {
        return Err(Error::Rule("cannot specify both digest and title"));
    }
    Ok(Mount { destination, source: Source::Artifact { reference, digest, title, name: file }, options })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(value: &str) -> Result<Mount> {
        let fields: Vec<String> = value.split(',').map(str::to_owned).collect();
        parse_mount(&fields, Path::new("/cwd"))
    }

    #[test]
    fn types_and_aliases_are_podmans() {
        let bind = |path: &str| Source::Bind { path: path.into() };
        let volume = |name: Option<&str>| Source::Volume { name: name.map(str::to_owned), subpath: None };
        for (value, source, target) in [
            ("type=bind,src=/a,dst=/b", bind("/a"), "/b"),
            ("source=a,type=bind,target=/b", bind("/cwd/a"), "/b"),
            ("type=bind,destination=/b", bind("/b"), "/b"),
            ("type=volume,source=v,dest=/b", volume(Some("v")), "/b"),
            ("target=/b", volume(None), "/b"),
            ("type=tmpfs,dst=/t", Source::Tmpfs { copy_up: true }, "/t"),
            ("type=tmpfs,dst=/t,notmpcopyup", Source::Tmpfs { copy_up: false }, "/t"),
            ("type=ramfs,dst=/t", Source::Ramfs, "/t"),
            ("type=devpts,dst=/p,gid=5,mode=620", Source::Devpts, "/p"),
            ("type=image,src=x,dst=/i", Source::Image { reference: "x".into(), subpath: None }, "/i"),
            (
                "type=artifact,src=q.io/a:1,dst=/a,title=,name=n",
                Source::Artifact {
                    reference: "q.io/a:1".into(),
                    digest: None,
                    title: None,
                    name: Some("n".into()),
                },
                "/a",
            ),
            ("type=glob,src=/x*", Source::Glob { pattern: "/x*".into(), keep_paths: true }, "/"),
        ] {
            let parsed = mount(value).unwrap_or_else(|e| panic!("{value}: {e}"));
            assert_eq!((parsed.source, parsed.destination), (source, PathBuf::from(target)), "{value}");
        }
    }

    #[test]
    fn read_only_has_many_spellings() {
        for (word, read_only) in [
            ("ro", true),
            ("ro=true", true),
            ("readonly", true),
            ("readonly=true", true),
            ("rw=false", true),
            ("rw", false),
            ("rw=true", false),
            ("ro=false", false),
            ("readonly=false", false),
        ] {
            let access = mount(&format!("type=volume,dst=/x,{word}")).unwrap().options.access;
            assert_eq!(access == Access::ReadOnly, read_only, "{word}");
        }
        assert_eq!(mount("type=image,src=x,dst=/i").unwrap().options.access, Access::ReadOnly);
        assert_eq!(mount("type=artifact,src=x,dst=/i").unwrap().options.access, Access::ReadOnly);
        assert_eq!(mount("type=image,src=x,dst=/i,rw=true").unwrap().options.access, Access::ReadWrite);
    }

    #[test]
    fn s37_bad_mounts_are_refused_in_podmans_words() {
        for (value, text) in [
            ("type=bogus,dst=/x", "invalid filesystem type \"bogus\""),
            ("type=bind,src=/x", "must set volume destination"),
            ("type=bind,src=/a,dst=/b,bind-propagation=rshared,suid,bogus", "bogus: invalid mount option"),
            (
                "type=bind,src=/a,dst=/b,bind-propagation=rshared\nsuid",
                "invalid value \"bind-propagation=rshared\nsuid\": invalid mount option",
            ),
            (
                "type=tmpfs,dst=/b,bind-propagation=shared",
                "\"bind-propagation\" option not supported for \"tmpfs\" mount types",
            ),
            (
                "type=bind,src=/a,src=/c,dst=/b",
                "cannot pass \"src\" option more than once: must provide an argument for option",
            ),
            (
                "type=bind,src=/a,dst=/b,ro,rw",
                "cannot pass 'readonly', 'ro', or 'rw' mnt.Options more than once: must provide an argument for option",
            ),
            ("type=bind,src=/a,dst", "dst: must provide an argument for option"),
            (
                "type=tmpfs,dst=/x,noswap",
                "the 'noswap' option is only allowed with rootful tmpfs mounts: must provide an argument for option",
            ),
            ("type=image,src=x", "must set source and destination for image volume"),
            ("type=artifact,src=x", "must set source and destination for artifact volume"),
            ("type=artifact,dst=/x,src=", "must set source and destination for artifact volume"),
            ("type=artifact,dst=/x,title", "title: must provide an argument for option"),
            // Nothing may make its files writable.
            ("type=artifact,src=x,dst=/x,rw=true", "rw: invalid mount option"),
            ("type=artifact,src=x,dst=/x,digest=a,title=b", "cannot specify both digest and title"),
            ("type=bind,src=/a,dst=b", "invalid container path \"b\", must be an absolute path"),
            (
                "type=bind,src=/a,dst=/b,U=maybe",
                "'U' or 'chown' must be set to true or false, instead received \"maybe\": must provide an argument for option",
            ),
            (
                "type=bind,src=/a,dst=/b,relabel=x",
                "relabel mount option must be 'private' or 'shared': invalid mount option",
            ),
        ] {
            assert_eq!(mount(value).unwrap_err().to_string(), text, "{value}");
        }
    }
}
