//! `--filter`: which events are wanted. Values of one key are alternatives, keys must all match.

use jiff::Timestamp;

use super::Event;

/// A filter that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} is an invalid filter")]
pub struct BadFilter {
    text: String,
}

/// Parsed filters.
#[derive(Debug, Default)]
pub struct Filters {
    /// By key as it was written.
    keys: Vec<(String, Vec<Filter>)>,
    /// Only what happened after this.
    pub since: Option<Timestamp>,
    /// Only what happened before this.
    pub until: Option<Timestamp>,
}

#[derive(Debug)]
enum Filter {
    /// A kind, and its name or the beginning of its id.
    Thing(&'static str, String),
    VolumePrefix(String),
    Status(String),
    Kind(String),
    Label(String, Option<String>),
}

impl Filters {
    /// Parses `KEY=VALUE` texts.
    ///
    /// # Errors
    /// On a text without a value, or an unknown key.
    pub fn parse(texts: &[String]) -> Result<Self, BadFilter> {
        let mut filters = Self::default();
        for text in texts {
            let (key, value) = text.split_once('=').ok_or_else(|| BadFilter { text: text.clone() })?;
            let filter = Filter::parse(key, value).ok_or_else(|| BadFilter { text: key.to_owned() })?;
            match filters.keys.iter_mut().find(|(known, _)| known == key) {
                Some((_, list)) => list.push(filter),
                None => filters.keys.push((key.to_owned(), vec![filter])),
            }
        }
        Ok(filters)
    }

    /// Whether the event is wanted.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.time > since)
            && self.until.is_none_or(|until| event.time < until)
            && self.keys.iter().all(|(_, list)| list.iter().any(|filter| filter.matches(event)))
    }
}

impl Filter {
    fn parse(key: &str, value: &str) -> Option<Self> {
        let owned = value.to_owned();
        Some(match key.to_ascii_lowercase().as_str() {
            "container" => Self::Thing("container", owned),
            "image" => Self::Thing("image", owned),
            "pod" => Self::Thing("pod", owned),
            "volume" => Self::VolumePrefix(owned),
            // Docker's word.
            "event" | "status" if value == "die" => Self::Status("died".to_owned()),
            "event" | "status" => Self::Status(owned),
            "type" => Self::Kind(owned),
            "label" => match value.split_once('=') {
                Some((name, value)) => Self::Label(name.to_owned(), Some(value.to_owned())),
                None => Self::Label(owned, None),
            },
            _ => return None,
        })
    }

    fn matches(&self, event: &Event) -> bool {
        match self {
            Self::Thing(kind, wanted) => {
                event.kind == *kind && (event.name == *wanted || event.id.starts_with(wanted.as_str()))
            }
            Self::VolumePrefix(prefix) => event.kind == "volume" && event.name.starts_with(prefix.as_str()),
            Self::Status(status) => event.status == *status,
            Self::Kind(kind) => event.kind == *kind,
            Self::Label(name, wanted) => {
                let value = event.attributes.as_ref().and_then(|attributes| attributes.get(name));
                value.is_some_and(|value| wanted.as_ref().is_none_or(|wanted| value == wanted))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_add_up_and_values_are_alternatives() {
        let mut event = Event::new("container", "died");
        event.id = "abcdef".to_owned();
        event.name = "web".to_owned();
        event.attributes = Some([("app".to_owned(), "a=b".to_owned())].into_iter().collect());
        let table: [(&[&str], bool); 14] = [
            (&[], true),
            (&["container=web"], true),
            (&["container=we"], false),
            (&["container=abc"], true),
            (&["image=abc"], false),
            (&["event=die"], true),
            (&["status=died", "event=start"], false),
            (&["event=start", "event=died"], true),
            (&["type=container", "event=died"], true),
            (&["type=image"], false),
            (&["label=app"], true),
            (&["label=app=a=b"], true),
            (&["label=app=a"], false),
            (&["volume=web"], false),
        ];
        for (texts, expected) in table {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(Filters::parse(&texts).unwrap().matches(&event), expected, "{texts:?}");
        }
        for bad in ["color=red", "container"] {
            assert!(Filters::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
