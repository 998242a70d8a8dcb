//! What is told to those who watch containers.

use super::{Containers, Record, State};
use crate::events::Event;

impl Record {
    /// Something that happens to this container now.
    #[must_use]
    pub fn event(&self, status: &str) -> Event {
        let mut event = Event::new("container", status);
        event.id = self.id.to_string();
        event.name.clone_from(&self.name);
        event.image.clone_from(&self.root.image_name);
        event.attributes = Some(self.labels.clone());
        event
    }

    /// The end of this container, which was last in `state`.
    #[must_use]
    pub fn removal_event(&self, state: &State) -> Event {
        let container_exit_code = state.stored.as_ref().and_then(|stored| stored.exit_code);
        Event { container_exit_code, ..self.event("remove") }
    }

    /// A process of this container that ends now with `code`.
    #[must_use]
    pub fn exit_event(&self, status: &str, code: i32) -> Event {
        Event { container_exit_code: Some(code), ..self.event(status) }
    }
}

impl Containers {
    /// Tells that something happened to the container of `record`.
    pub fn tell(&self, record: &Record, status: &str) {
        self.events.emit(&[record.event(status)]);
    }
}
