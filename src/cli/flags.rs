//! Go's flag syntax (pflag) on top of clap.
//!
//! Scripts written for podman rely on habits that clap does not share:
//! `--rm=false`, `-it`, `-eA=b`, `--name -x` (the next word is the value,
//! whatever it looks like), flags after arguments, and `run`, whose flags end at
//! the first argument. So the words are read here, with pflag's rules and its
//! error texts, against the arguments that clap knows of; clap then gets a
//! canonical form (`--flag=value … -- arguments`), converts and checks values.

use std::cell::LazyCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use clap::{Arg, ArgAction, Command};

/// Why words are not valid flags, in pflag's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// `--help` or `-h` was found where the command does not define it.
    #[error("help requested")]
    Help,
    /// No such long flag.
    #[error("unknown flag: --{0}")]
    Unknown(String),
    /// No such short flag.
    #[error("unknown shorthand flag: {0:?} in -{1}")]
    UnknownShort(char, String),
    /// A long flag at the end that wants a value.
    #[error("flag needs an argument: --{0}")]
    NeedsValue(String),
    /// A short flag at the end that wants a value.
    #[error("flag needs an argument: {0:?} in -{1}")]
    ShortNeedsValue(char, String),
    /// `---x` or `--=x`.
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    /// A boolean flag with something else as its value.
    #[error(
        "invalid argument {value:?} for {flag:?} flag: strconv.ParseBool: parsing {value:?}: invalid syntax"
    )]
    NotBoolean {
        /// The value.
        value: String,
        /// The flag as in the help, `-t, --tty`.
        flag: String,
    },
}

/// The program's own options. They are built when a flag is no one else's: few command lines have any.
pub type Globals = LazyCell<Command>;

/// Words, sorted.
#[derive(Debug, Default)]
pub struct Words {
    /// Flags of the command itself, in clap's form.
    pub local: Vec<OsString>,
    /// Flags of the program, in clap's form.
    pub global: Vec<OsString>,
    /// Everything that is not a flag.
    pub arguments: Vec<OsString>,
}

/// Where reading stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Nowhere: flags and arguments may be mixed.
    End,
    /// At the first argument; what follows belongs to something else.
    FirstArgument,
}

/// Reads flags of `local` and `global` (commands whose arguments are built)
/// from `words`.
///
/// # Errors
/// Fails on the first word that pflag would refuse.
pub fn read(
    local: Option<&Command>,
    global: &Globals,
    words: &[OsString],
    until: Until,
) -> Result<Words, FlagError> {
    let mut reader = Reader { local, global, rest: words, words: Words::default() };
    while let Some((word, rest)) = reader.rest.split_first() {
        reader.rest = rest;
        let bytes = word.as_bytes();
        match bytes {
            b"--" => {
                reader.words.arguments.extend(rest.iter().cloned());
                break;
            }
            [b'-', b'-', flag @ ..] => reader.long(flag)?,
            [b'-', cluster @ ..] if !cluster.is_empty() => {
                let mut cluster = cluster;
                while !cluster.is_empty() {
                    cluster = reader.short(cluster)?;
                }
            }
            _ => {
                reader.words.arguments.push(word.clone());
                if until == Until::FirstArgument {
                    reader.words.arguments.extend(rest.iter().cloned());
                    break;
                }
            }
        }
    }
    Ok(reader.words)
}

struct Reader<'a> {
    local: Option<&'a Command>,
    global: &'a Globals,
    rest: &'a [OsString],
    words: Words,
}

/// A flag that was found, and whether it is the command's own.
#[derive(Clone, Copy)]
struct Found<'a> {
    arg: &'a Arg,
    local: bool,
}

impl<'a> Reader<'a> {
    fn find(&self, matches: impl Fn(&Arg) -> bool) -> Option<Found<'a>> {
        let named =
            |command: &'a Command| command.get_arguments().find(|arg| !arg.is_positional() && matches(arg));
        let own = self.local.and_then(named).map(|arg| Found { arg, local: true });
        own.or_else(|| named(self.global).map(|arg| Found { arg, local: false }))
    }

    /// Reads what follows `--`.
    fn long(&mut self, flag: &[u8]) -> Result<(), FlagError> {
        if matches!(flag.first(), None | Some(b'-' | b'=')) {
            return Err(FlagError::Syntax(format!("--{}", String::from_utf8_lossy(flag))));
        }
        let (name, value) = match flag.iter().position(|&b| b == b'=') {
            Some(at) => (&flag[..at], Some(&flag[at + 1..])),
            None => (flag, None),
        };
        let name = String::from_utf8_lossy(name);
        let Some(found) = self.find(|arg| has_long(arg, &name)) else {
            return Err(if name == "help" { FlagError::Help } else { FlagError::Unknown(name.into_owned()) });
        };
        match value {
            Some(value) => self.give(found, Some(value)),
            None if value_is_optional(found.arg) => self.give(found, None),
            None => match self.rest.split_first() {
                Some((next, rest)) => {
                    self.rest = rest;
                    self.give(found, Some(next.as_bytes()))
                }
                None => Err(FlagError::NeedsValue(name.into_owned())),
            },
        }
    }

    /// Reads the first flag of a cluster of short ones; returns the rest of the cluster.
    fn short<'w>(&mut self, cluster: &'w [u8]) -> Result<&'w [u8], FlagError> {
        let text = String::from_utf8_lossy(cluster).into_owned();
        let letter = text.chars().next().unwrap_or_default();
        let after = cluster.get(letter.len_utf8()..).unwrap_or_default();
        let Some(found) = self.find(|arg| has_short(arg, letter)) else {
            return Err(if letter == 'h' { FlagError::Help } else { FlagError::UnknownShort(letter, text) });
        };
        if let [b'=', value @ ..] = after
            && !value.is_empty()
        {
            self.give(found, Some(value))?;
        } else if value_is_optional(found.arg) {
            self.give(found, None)?;
            return Ok(after);
        } else if !after.is_empty() {
            self.give(found, Some(after))?;
        } else if let Some((next, rest)) = self.rest.split_first() {
            self.rest = rest;
            self.give(found, Some(next.as_bytes()))?;
        } else {
            return Err(FlagError::ShortNeedsValue(letter, text));
        }
        Ok(&[])
    }

    /// Writes a flag in clap's form. Of a flag that holds one value, the last one counts.
    fn give(&mut self, found: Found<'_>, value: Option<&[u8]>) -> Result<(), FlagError> {
        let arg = found.arg;
        let words = if found.local { &mut self.words.local } else { &mut self.words.global };
        let flag = match (arg.get_long(), arg.get_short()) {
            (Some(long), _) => format!("--{long}"),
            (None, Some(short)) => format!("-{short}"),
            (None, None) => return Ok(()),
        };
        if !matches!(arg.get_action(), ArgAction::Append | ArgAction::Count) {
            let (bare, with_value) = (OsStr::new(&flag), format!("{flag}="));
            words.retain(|word| word != bare && !word.as_bytes().starts_with(with_value.as_bytes()));
        }
        if takes_no_value(arg) {
            let on = match value {
                None => true,
                Some(value) => parse_bool(value).ok_or_else(|| FlagError::NotBoolean {
                    value: String::from_utf8_lossy(value).into_owned(),
                    flag: display_name(arg),
                })?,
            };
            if on {
                words.push(flag.into());
            }
            return Ok(());
        }
        let mut word = flag.into_bytes();
        if let Some(value) = value {
            word.push(b'=');
            word.extend_from_slice(value);
        }
        words.push(OsString::from_vec(word));
        Ok(())
    }
}

/// Go's `strconv.ParseBool`.
#[must_use]
pub fn parse_bool(value: &[u8]) -> Option<bool> {
    match value {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

/// A flag as pflag names it in errors: `-t, --tty` or `--tty`.
#[must_use]
pub fn display_name(arg: &Arg) -> String {
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, None) => arg.get_id().to_string(),
    }
}

pub(super) fn has_long(arg: &Arg, name: &str) -> bool {
    arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
}

pub(super) fn has_short(arg: &Arg, letter: char) -> bool {
    arg.get_short() == Some(letter)
        || arg.get_all_short_aliases().is_some_and(|aliases| aliases.contains(&letter))
}

fn takes_no_value(arg: &Arg) -> bool {
    !arg.get_action().takes_values()
}

/// Whether the flag may stand alone: a boolean, or `num_args = 0..=1`.
pub(super) fn value_is_optional(arg: &Arg) -> bool {
    takes_no_value(arg) || arg.get_num_args().is_some_and(|range| range.min_values() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let mut command = Command::new("run")
            .disable_help_flag(true)
            .arg(Arg::new("tty").short('t').long("tty").action(ArgAction::SetTrue))
            .arg(Arg::new("interactive").short('i').long("interactive").action(ArgAction::SetTrue))
            .arg(Arg::new("hostname").short('h').long("hostname"))
            .arg(Arg::new("env").short('e').long("env").action(ArgAction::Append))
            .arg(Arg::new("network").long("network").alias("net"))
            .arg(Arg::new("verify").long("tls-verify").num_args(0..=1).default_missing_value("true"))
            .arg(Arg::new("args").num_args(0..));
        command.build();
        command
    }

    fn program() -> Globals {
        LazyCell::new(|| {
            let mut command = Command::new("rbox").disable_help_flag(true).arg(Arg::new("root").long("root"));
            command.build();
            command
        })
    }

    fn read_words(text: &str, until: Until) -> Result<(String, String, String), FlagError> {
        let words: Vec<OsString> =
            shlex::split(text).expect("valid words").into_iter().map(OsString::from).collect();
        let global = program();
        let read = read(Some(&command()), &global, &words, until)?;
        let join = |words: &[OsString]| {
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        Ok((join(&read.local), join(&read.global), join(&read.arguments)))
    }

    #[test]
    fn reads_as_pflag_does() {
        let cases = [
            ("-it img", "--interactive --tty", "", "img"),
            ("-ti=false img", "--tty", "", "img"),
            ("--tty=0 img", "", "", "img"),
            ("--tty --tty=false img", "", "", "img"),
            ("-eA=b -e C --env=D", "--env=A=b --env=C --env=D", "", ""),
            ("-e=A=b", "--env=A=b", "", ""),
            ("--hostname -x img -t", "--hostname=-x --tty", "", "img"),
            ("--hostname a --hostname=b", "--hostname=b", "", ""),
            ("--net none --root /r img", "--network=none", "--root=/r", "img"),
            ("--tls-verify img --tls-verify=false", "--tls-verify=false", "", "img"),
            ("img - -- -t --", "", "", "img - -t --"),
            ("-tih x", "--tty --interactive --hostname=x", "", ""),
            ("-tihx", "--tty --interactive --hostname=x", "", ""),
        ];
        for (text, local, global, arguments) in cases {
            let (l, g, a) = read_words(text, Until::End).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((l.as_str(), g.as_str(), a.as_str()), (local, global, arguments), "{text}");
        }
        let (local, _, arguments) = read_words("-t img -i --rm -- x", Until::FirstArgument).expect("valid");
        assert_eq!((local.as_str(), arguments.as_str()), ("--tty", "img -i --rm -- x"));
    }

    #[test]
    fn refuses_with_pflags_words() {
        let cases = [
            ("--foo", "unknown flag: --foo"),
            ("--foo=bar", "unknown flag: --foo"),
            ("-tq", "unknown shorthand flag: 'q' in -q"),
            ("-qt", "unknown shorthand flag: 'q' in -qt"),
            ("-h", "flag needs an argument: 'h' in -h"),
            ("-th", "flag needs an argument: 'h' in -h"),
            ("--env", "flag needs an argument: --env"),
            ("---x", "bad flag syntax: ---x"),
            ("--=x", "bad flag syntax: --=x"),
            (
                "--tty=maybe",
                "invalid argument \"maybe\" for \"-t, --tty\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            ("--help", "help requested"),
        ];
        for (text, message) in cases {
            let error = read_words(text, Until::End).expect_err(text);
            assert_eq!(error.to_string(), message);
        }
    }

    proptest::proptest! {
        /// Whatever is typed, reading ends, and what was read is read the same again.
        #[test]
        fn canonical_words_are_stable(words in proptest::collection::vec("-{0,3}[a-z=é]{0,8}", 0..6)) {
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            let global = program();
            if let Ok(first) = read(Some(&command()), &global, &words, Until::End) {
                let again: Vec<OsString> =
                    first.local.iter().cloned().chain([OsString::from("--")]).chain(first.arguments.iter().cloned()).collect();
                let second = read(Some(&command()), &global, &again, Until::End).expect("canonical words are valid");
                proptest::prop_assert_eq!(&first.local, &second.local);
                proptest::prop_assert_eq!(&first.arguments, &second.arguments);
            }
        }
    }
}
