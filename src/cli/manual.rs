//! Man pages, from the same definitions as `--help`.

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::help;
use super::tree::Node;
use crate::config::env::name;

/// A page: the file it belongs into and its text.
#[derive(Debug)]
pub struct Page {
    /// `rbox-run.1`.
    pub name: String,
    /// troff.
    pub text: String,
}

/// The pages of the program, of each noun and of each command under its first name.
#[must_use]
pub fn pages(program: &str) -> Vec<Page> {
    let mut nodes = Vec::new();
    collect(Node::Root, &mut nodes);
    nodes.into_iter().map(|node| page(node, program)).collect()
}

/// The nodes from here on that have a page.
fn collect(node: Node, found: &mut Vec<Node>) {
    if matches!(node, Node::Help) || node.is_hidden() || !node.is_canonical() {
        return;
    }
    found.push(node);
    for child in node.children() {
        collect(child, found);
    }
}

fn page(node: Node, program: &str) -> Page {
    let path = node.path(program);
    let title = path.replace(' ', "-");
    let command = node.build().name(title.clone()).version(env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone())
        .title(title.to_uppercase())
        .manual("rbox")
        .source(format!("{program} {}", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    let mut render = || -> std::io::Result<()> {
        man.render_title(&mut text)?;
        man.render_name_section(&mut text)?;
        let mut roff = Roff::new();
        roff.control("SH", ["SYNOPSIS"]);
        let usage = help::usage(node, &command, program);
        for word in
            std::iter::once(usage.as_str()).chain(node.other_paths(program).iter().map(String::as_str))
        {
            let rest = word.strip_prefix(path.as_str());
            match rest {
                Some(rest) => roff.text([bold(path.as_str()), roman(rest)]),
                None => roff.text([roman("also "), bold(word)]),
            };
            roff.control("br", []);
        }
        roff.to_writer(&mut text)?;
        man.render_description_section(&mut text)?;
        if help::visible(&command).next().is_some() {
            man.render_options_section(&mut text)?;
        }
        let mut roff = Roff::new();
        commands(&mut roff, node, program);
        examples(&mut roff, &command);
        if matches!(node, Node::Root) {
            definitions(&mut roff, "ENVIRONMENT", &ENVIRONMENT);
            definitions(&mut roff, "FILES", &FILES);
        }
        if !matches!(node, Node::Root) {
            roff.control("SH", ["SEE ALSO"]);
            roff.text([bold(program), roman("(1)")]);
        }
        roff.to_writer(&mut text)
    };
    render().expect("writing to memory does not fail");
    Page { name: format!("{title}.1"), text: String::from_utf8(text).expect("pages are made of text") }
}

/// What the page of rbox itself says about variables.
const ENVIRONMENT: [(&str, &str); 8] = [
    (
        name::LINGER,
        "For how many seconds after a command a sleeping process holds the user's namespace open, which makes the next \
        command start faster (default 60). With 0 no process stays.",
    ),
    (name::CONTAINERS_CONF, "The only containers.conf(5) to read."),
    (name::CONTAINERS_CONF_OVERRIDE, "A containers.conf(5) that is read last and wins."),
    (name::CONTAINERS_STORAGE_CONF, "The only storage.conf(5) to read."),
    (name::CONTAINERS_REGISTRIES_CONF, "The only registries.conf(5) to read."),
    (name::REGISTRY_AUTH_FILE, "Credentials for registries."),
    (name::TMPDIR, "Directory for large temporary files."),
    (name::NO_COLOR, "Any value switches colours off."),
];

/// What the page of rbox itself says about files.
const FILES: [(&str, &str); 4] = [
    ("$XDG_DATA_HOME/rbox", "Images, containers and volumes (default ~/.local/share/rbox)."),
    ("$XDG_RUNTIME_DIR/rbox", "What does not outlive a reboot."),
    ("/etc/subuid, /etc/subgid", "The ranges of ids that the user's namespace maps."),
    (
        "$XDG_CONFIG_HOME/containers",
        "The user's containers.conf, storage.conf, registries.conf and the like; /etc/containers has the \
        host's.",
    ),
];

fn definitions(roff: &mut Roff, title: &str, terms: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (term, text) in terms {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*text)]);
    }
}

fn commands(roff: &mut Roff, node: Node, program: &str) {
    let children: Vec<Node> = node.children().into_iter().filter(|child| !child.is_hidden()).collect();
    if children.is_empty() {
        return;
    }
    roff.control("SH", ["COMMANDS"]);
    for child in children {
        let page = child.canonical_path(program).replace(' ', "-");
        roff.control("TP", []);
        roff.text([bold(child.word()), roman(" ("), italic(page), roman("(1))")]);
        roff.text([roman(child.build().get_about().map(ToString::to_string).unwrap_or_default())]);
    }
}

fn examples(roff: &mut Roff, command: &clap::Command) {
    let Some(examples) = command.get_after_help() else { return };
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in examples.to_string().lines() {
        roff.text([roman(line.trim())]);
    }
    roff.control("fi", []);
}
