//! When a registry is asked, and which one.

use std::cell::RefCell;

use super::Context;
use super::registry::{Fetched, Known, Wanted, fetch, fetch_all_tags};
use super::resolve::{self, Named};
use crate::image::error::{Error, Result};
use crate::image::naming::give_name;
use crate::image::place::{Place, places};
use crate::image::platform::Platform;
use crate::image::progress::{Event, Progress, Reporter};
use crate::image::reference::Reference;
use crate::image::registries::Registries;
use crate::image::request::{PullPolicy, PullRequest, RegistryOptions};
use crate::store::{self, Digest, Found, ImageId};

/// Brings the images that `request` names into the store and gives them their names.
pub fn pull(
    context: Context<'_>,
    request: &PullRequest,
    progress: &mut dyn Progress,
) -> Result<Vec<ImageId>> {
    let progress = RefCell::new(progress);
    let reporter = Reporter::new(&progress);
    let mut pull = Pull { context, request, reporter, registries: None, anew: false };
    match resolve::classify(&request.name)? {
        Named::Id(text) if request.policy == PullPolicy::Always => {
            let _ = text;
            Err(Error::Options("pull policy is always but image has been referred to by ID"))
        }
        Named::Id(text) => Ok(vec![pull.context.store.find_image(&text)?.record.id]),
        Named::Docker(name) if request.all_tags => pull.all_tags(&name),
        Named::Docker(name) => Ok(vec![pull.one(&name)?]),
        Named::File(_) | Named::Storage { .. } if request.all_tags => {
            Err(Error::Options("pulling all tags is not supported for this transport"))
        }
        Named::Storage { root, name } => {
            crate::image::archive::import_podman(context, root.as_deref(), &name, reporter)
        }
        Named::File(source) => {
            let choice = (request.platform.as_ref(), &request.decryption);
            crate::image::archive::load_source(context, &source, choice, reporter)
        }
    }
}

/// Brings what the store lacks of an image that it has, or of which it has a record; no name is given.
pub(in crate::image) fn again(
    context: Context<'_>,
    reference: &Reference,
    platform: Option<Platform>,
    progress: &mut dyn Progress,
) -> Result<ImageId> {
    let progress = RefCell::new(progress);
    let registry = RegistryOptions { retry: Some(0), ..RegistryOptions::default() };
    let request = PullRequest { platform, registry, ..PullRequest::default() };
    let reporter = Reporter::new(&progress);
    let mut pull = Pull { context, request: &request, reporter, registries: None, anew: true };
    reporter.report(Event::Trying(reference));
    Ok(pull.fetch(reference, false)?.id)
}

struct Pull<'p, 'e> {
    context: Context<'e>,
    request: &'p PullRequest,
    reporter: Reporter<'p>,
    registries: Option<Registries>,
    /// What was pulled before does not count.
    anew: bool,
}

impl Pull<'_, '_> {
    fn registries(&mut self) -> Result<&Registries> {
        if self.registries.is_none() {
            self.registries = Some(Registries::load(self.context.env, self.context.paths)?);
        }
        Ok(self.registries.as_ref().expect("just loaded"))
    }

    fn one(&mut self, name: &str) -> Result<ImageId> {
        let local = self.local(name)?;
        match (self.request.policy, &local) {
            (PullPolicy::Never, None) => return Err(Error::NotKnown(name.to_owned())),
            (PullPolicy::Never | PullPolicy::Missing, Some(found)) => return Ok(found.record.id.clone()),
            _ => {}
        }
        // Nothing is said where nothing is newer.
        let quietly = self.request.policy == PullPolicy::Newer && local.is_some();
        match (self.remote(name, quietly), self.request.policy, local) {
            // What is here is good enough when the registry cannot say that there is something newer.
            (Err(_), PullPolicy::Newer, Some(found)) => Ok(found.record.id),
            (outcome, _, _) => outcome,
        }
    }

    /// The image of that name that is here, if it is for the platform that was asked for.
    fn local(&self, name: &str) -> Result<Option<Found>> {
        let found = match self.context.store.find_image(name) {
            Ok(found) => found,
            // Several images that end in the name are no reason to bring none.
            Err(crate::store::Error::NotFound { .. } | crate::store::Error::Ambiguous { .. }) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let record = &found.record;
        let is_wanted = self.request.platform.as_ref().is_none_or(|wanted| {
            wanted.accepts(&Platform::normalised(&record.os, &record.architecture, record.variant.as_deref()))
        });
        Ok(is_wanted.then_some(found))
    }

    /// Tries every meaning of the name until one can be pulled.
    fn remote(&mut self, name: &str, quietly: bool) -> Result<ImageId> {
        let candidates = self.registries()?.candidates(name)?;
        if let Some(by) = &candidates.resolution {
            self.reporter.report(Event::Resolved { name, by });
        }
        let mut errors = Vec::new();
        for reference in &candidates.references {
            if !quietly {
                self.reporter.report(Event::Trying(reference));
            }
            match self.fetch_named(reference, quietly) {
                Ok(fetched) => return Ok(fetched.id),
                Err(error) => errors.push(error),
            }
        }
        let last = errors.pop().expect("there is at least one candidate");
        if errors.is_empty() {
            return Err(last);
        }
        errors.push(last);
        Err(Error::Several(errors))
    }

    fn all_tags(&mut self, name: &str) -> Result<Vec<ImageId>> {
        let candidates = self.registries()?.candidates(name)?;
        let reference = candidates.references[0].without_version();
        if Reference::parse(name).is_ok_and(|r| r.tag().is_some() || r.digest().is_some()) {
            return Err(Error::Options("tag or digest can't be used with --all-tags/-a"));
        }
        let policy = self.context.policy()?;
        let place = self.places(&reference)?.pop().expect("there is at least one place");
        let mut ids = Vec::new();
        let mut keep = |tagged: &Reference, fetched: Fetched| {
            self.name(tagged, &fetched)?;
            ids.push(fetched.id);
            Ok(())
        };
        let request = (self.request, &policy);
        fetch_all_tags(self.context, &reference, &place, request, self.reporter, &mut keep)?;
        Ok(ids)
    }

    /// Fetches a reference and gives its name to the image. Between both somebody may prune the image, which has no name yet:
    /// then its record is written again, of layers that this process holds.
    fn fetch_named(&mut self, reference: &Reference, quietly: bool) -> Result<Fetched> {
        const ATTEMPTS: usize = 10;
        let mut attempt = 1;
        loop {
            let fetched = self.fetch(reference, quietly)?;
            match self.name(reference, &fetched) {
                Err(Error::Store(store::Error::NotFound { .. })) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome.map(|()| fetched),
            }
        }
    }

    /// Fetches one reference from the first of its mirrors that has it, or from its own place.
    fn fetch(&mut self, reference: &Reference, quietly: bool) -> Result<Fetched> {
        let demands = self.context.policy()?.check(reference)?;
        let known = if self.anew { None } else { self.known(reference)? };
        let known = known.as_ref().map(|(id, digest)| Known { id, digest, quietly });
        let request = self.request;
        let (platform, keys) = (request.platform.as_ref(), &request.decryption);
        let wanted = Wanted { platform, demands: &demands, keys, known };
        let mut places = self.places(reference)?;
        let own = places.pop().expect("there is at least one place");
        for mirror in &places {
            let fetched = fetch(self.context, reference, mirror, wanted, self.reporter);
            match fetched {
                Ok(fetched) => return Ok(fetched),
                // A mirror may lack the image or be down; what the store refuses is refused from everywhere.
                Err(error @ (Error::Source { .. } | Error::Auth(_))) => {
                    let text = format!("mirror {}: {}", mirror.remote, crate::image::error::chain(&error));
                    self.reporter.report(Event::Warning(&text));
                }
                Err(error) => return Err(error),
            }
        }
        fetch(self.context, reference, &own, wanted, self.reporter)
    }

    /// What the name led to when it was pulled last, if that is here and for the right platform.
    fn known(&self, reference: &Reference) -> Result<Option<(ImageId, Digest)>> {
        let store = self.context.store;
        let Some(tag) = store.resolve(&reference.to_string())? else { return Ok(None) };
        let (Some(manifest), Some(record)) = (tag.manifest, store.image(&tag.image)?) else {
            return Ok(None);
        };
        let wanted = self.request.platform.clone().unwrap_or_else(Platform::host);
        let actual = Platform::normalised(&record.os, &record.architecture, record.variant.as_deref());
        if !wanted.accepts(&actual) {
            return Ok(None);
        }
        for layer in record.mount_layers() {
            if store.layer(&layer)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some((record.id, manifest)))
    }

    /// Where to ask for a reference, its own place last.
    fn places(&mut self, reference: &Reference) -> Result<Vec<Place>> {
        let (context, options) = (self.context, &self.request.registry);
        places(context, self.registries()?, options, reference)
    }

    fn name(&self, reference: &Reference, fetched: &Fetched) -> Result<()> {
        let (name, manifest) = (reference.to_string(), Some(fetched.digest.clone()));
        if let Some(text) = give_name(self.context.store, &name, &fetched.id, manifest)? {
            self.reporter.report(Event::Moved(&text));
        }
        Ok(())
    }
}
