//! Looks commands up in the table and builds them for clap.
//!
//! Only the one command that runs is built: building all of them costs more
//! than the rest of the start.

use clap::Command;

use super::commands::{COMMANDS, GROUPS, Group, Spec};
use super::globals::GlobalArgs;

const HELP: &str = "help";

/// A place in the tree.
#[derive(Debug, Clone, Copy)]
pub enum Node {
    /// The program itself.
    Root,
    /// A noun.
    Group(&'static Group),
    /// `help`, which the parser itself answers.
    Help,
    /// A command, by the name at `index` of its names.
    Command {
        /// Its row.
        spec: &'static Spec,
        /// Which of the names in the row was used.
        index: usize,
    },
}

/// One name of a command: the noun it stands under, the word, its aliases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// The noun, or nothing at the top.
    pub group: Option<&'static str>,
    /// The word.
    pub word: &'static str,
    aliases: &'static str,
}

impl Name {
    fn parse(text: &'static str) -> Self {
        let (group, words) = match text.rsplit_once(' ') {
            Some((group, words)) => (Some(group), words),
            None => (None, text),
        };
        let (word, aliases) = words.split_once('|').unwrap_or((words, ""));
        Self { group, word, aliases }
    }

    /// The other words.
    pub fn aliases(self) -> impl Iterator<Item = &'static str> {
        self.aliases.split('|').filter(|alias| !alias.is_empty())
    }

    fn is_called(self, word: &str) -> bool {
        self.word == word || self.aliases().any(|alias| alias == word)
    }
}

impl Node {
    /// The node that `word` leads to from here.
    #[must_use]
    pub fn child(self, word: &str) -> Option<Self> {
        let group = match self {
            Self::Root => None,
            Self::Group(group) => Some(group.name),
            Self::Command { .. } | Self::Help => return None,
        };
        if group.is_none() && word == HELP {
            return Some(Self::Help);
        }
        let command = names().find(|(name, ..)| name.group == group && name.is_called(word));
        if let Some((_, spec, index)) = command {
            return Some(Self::Command { spec, index });
        }
        groups(group).find(|group| group.word() == word).map(Self::Group)
    }

    /// Everything below this node, sorted by name.
    #[must_use]
    pub fn children(self) -> Vec<Self> {
        let group = match self {
            Self::Root => None,
            Self::Group(group) => Some(group.name),
            Self::Command { .. } | Self::Help => return Vec::new(),
        };
        let mut found: Vec<Self> = names()
            .filter(|(name, ..)| name.group == group)
            .map(|(_, spec, index)| Self::Command { spec, index })
            .collect();
        found.extend(groups(group).map(Self::Group));
        if group.is_none() {
            found.push(Self::Help);
        }
        found.sort_by_key(|node| node.word());
        found
    }

    /// The word that leads here.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Help => HELP,
            Self::Group(group) => group.word(),
            Self::Command { spec, index } => Name::parse(spec.names[index]).word,
        }
    }

    /// The other words that lead here.
    #[must_use]
    pub fn aliases(self) -> Vec<&'static str> {
        match self {
            Self::Root | Self::Group(_) | Self::Help => Vec::new(),
            Self::Command { spec, index } => Name::parse(spec.names[index]).aliases().collect(),
        }
    }

    /// Whether lists leave it out.
    #[must_use]
    pub fn is_hidden(self) -> bool {
        match self {
            Self::Group(group) => group.hidden,
            Self::Command { .. } => self.build().is_hide_set(),
            Self::Root | Self::Help => false,
        }
    }

    /// The words from the program to here, as in `rbox container ps`.
    #[must_use]
    pub fn path(self, program: &str) -> String {
        match self {
            Self::Root => program.to_owned(),
            Self::Help => format!("{program} {HELP}"),
            Self::Group(group) => format!("{program} {}", group.name),
            Self::Command { spec, index } => {
                let name = Name::parse(spec.names[index]);
                match name.group {
                    Some(group) => format!("{program} {group} {}", name.word),
                    None => format!("{program} {}", name.word),
                }
            }
        }
    }

    /// Whether this is the first name of its command.
    #[must_use]
    pub fn is_canonical(self) -> bool {
        !matches!(self, Self::Command { index, .. } if index > 0)
    }

    /// The path by which the command has its manual page.
    #[must_use]
    pub fn canonical_path(self, program: &str) -> String {
        match self {
            Self::Command { spec, .. } => Self::Command { spec, index: 0 }.path(program),
            other => other.path(program),
        }
    }

    /// Every other path to the same command.
    #[must_use]
    pub fn other_paths(self, program: &str) -> Vec<String> {
        let Self::Command { spec, index } = self else { return Vec::new() };
        let all = spec.names.iter().enumerate().flat_map(|(at, text)| {
            let name = Name::parse(text);
            let prefix = name.group.map_or_else(|| program.to_owned(), |group| format!("{program} {group}"));
            let word = (at != index).then_some(name.word);
            word.into_iter().chain(name.aliases()).map(move |word| format!("{prefix} {word}"))
        });
        all.collect()
    }

    /// This node for clap, with its arguments and nothing below it.
    #[must_use]
    pub fn build(self) -> Command {
        let bare = Command::new(self.word()).disable_help_flag(true).disable_version_flag(true);
        match self {
            Self::Root => globals(),
            Self::Help => bare.about("Help about any command"),
            Self::Group(group) => bare.about(group.about),
            Self::Command { spec, .. } => built((spec.augment)(bare)),
        }
    }
}

impl Group {
    /// The noun, and those that it stands under before it.
    fn split(&self) -> (Option<&'static str>, &'static str) {
        self.name.rsplit_once(' ').map_or((None, self.name), |(parent, word)| (Some(parent), word))
    }

    fn word(&self) -> &'static str {
        self.split().1
    }

    fn is_empty(&self) -> bool {
        !names().any(|(name, ..)| name.group == Some(self.name))
    }
}

/// The nouns under another one, or at the top, that have commands.
fn groups(parent: Option<&str>) -> impl Iterator<Item = &'static Group> {
    GROUPS.iter().filter(move |group| group.split().0 == parent && !group.is_empty())
}

/// The program's own options for clap.
#[must_use]
pub fn globals() -> Command {
    let bare = Command::new("rbox").disable_help_flag(true).disable_version_flag(true);
    built(<GlobalArgs as clap::Args>::augment_args(bare))
}

/// Resolves what clap leaves implicit, such as how many values an argument takes.
fn built(mut command: Command) -> Command {
    command.build();
    command
}

fn names() -> impl Iterator<Item = (Name, &'static Spec, usize)> {
    COMMANDS.iter().flat_map(|spec| {
        spec.names.iter().enumerate().map(move |(index, text)| (Name::parse(text), spec, index))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_sound() {
        for (name, spec, index) in names() {
            let node = Node::Command { spec, index };
            node.build().debug_assert();
            assert!(node.build().get_about().is_some(), "{name:?} has no description");
            assert!(
                name.group.is_none_or(|group| GROUPS.iter().any(|known| known.name == group)),
                "{name:?} is under an unknown noun"
            );
        }
    }

    #[test]
    fn names_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for (name, ..) in names() {
            for word in std::iter::once(name.word).chain(name.aliases()) {
                assert!(seen.insert((name.group, word)), "{name:?}: {word} is taken");
            }
        }
    }
}
