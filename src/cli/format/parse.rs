//! The tree of a template, with the grammar and the error texts of Go's
//! `text/template/parse`.

use std::collections::HashMap;
use std::fmt;

use super::lex::{self, Kind, Token};

/// A template and those it defines.
#[derive(Debug)]
pub(super) struct Tree {
    /// The name in error texts.
    pub name: String,
    /// The source, to find lines.
    pub source: String,
    /// The template itself.
    pub root: Vec<Node>,
    /// `{{define "name"}}`.
    pub defined: HashMap<String, Vec<Node>>,
}

/// A part of a template.
#[derive(Debug)]
pub(super) enum Node {
    /// Text, printed as it is.
    Text(String),
    /// `{{pipeline}}`
    Action(Pipe),
    /// `{{if}}…{{else}}…{{end}}`
    If(Branch),
    /// `{{with}}…{{else}}…{{end}}`
    With(Branch),
    /// `{{range}}…{{else}}…{{end}}`
    Range(Branch),
    /// `{{template "name" pipeline}}`
    Template {
        /// Where it stands.
        at: usize,
        /// Which one.
        name: String,
        /// Its dot.
        pipe: Option<Pipe>,
    },
    /// `{{break}}`
    Break,
    /// `{{continue}}`
    Continue,
}

/// A pipeline and what it decides about.
#[derive(Debug)]
pub(super) struct Branch {
    /// The condition.
    pub pipe: Pipe,
    /// What is done with it.
    pub body: Vec<Node>,
    /// What is done without.
    pub otherwise: Vec<Node>,
}

/// `$a, $b := command | command`
#[derive(Debug)]
pub(super) struct Pipe {
    /// Variables that are set.
    pub variables: Vec<String>,
    /// Whether they exist already (`=`).
    pub assigns: bool,
    /// The commands.
    pub commands: Vec<Command>,
}

/// A function or value, and its arguments.
#[derive(Debug)]
pub(super) struct Command {
    /// The first is what is called.
    pub words: Vec<Operand>,
}

impl Pipe {
    /// The fields of the dot that it prints, if it does nothing else.
    pub(super) fn only_fields(&self) -> Option<(&Operand, &[String])> {
        let ([command], []) = (&self.commands[..], &self.variables[..]) else { return None };
        match &command.words[..] {
            [word @ Operand { term: Term::Field(names), .. }] => Some((word, names)),
            _ => None,
        }
    }
}

/// A value in a command.
#[derive(Debug)]
pub(super) struct Operand {
    /// Where it stands.
    pub at: usize,
    /// What it is.
    pub term: Term,
}

/// The kinds of value.
#[derive(Debug)]
pub(super) enum Term {
    /// `.`
    Dot,
    /// `nil`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// A number, with its text.
    Number(Number, String),
    /// A string, with its source.
    Text(String, String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`
    Variable(String, Vec<String>),
    /// A function.
    Function(String),
    /// `(pipeline)`
    Pipe(Box<Pipe>),
    /// `(pipeline).A.B`
    Chain(Box<Operand>, Vec<String>),
}

/// A number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    /// Without fraction.
    Int(i64),
    /// With.
    Float(f64),
}

impl Operand {
    /// Whether it can be called with what the pipe brings.
    fn is_executable(&self) -> bool {
        !matches!(self.term, Term::Dot | Term::Nil | Term::Bool(_) | Term::Number(..) | Term::Text(..))
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assigns { "=" } else { ":=" })?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if index == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words.iter().enumerate() {
            write!(f, "{}{word}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dotted = |f: &mut fmt::Formatter<'_>, names: &[String]| {
            names.iter().try_for_each(|name| write!(f, ".{name}"))
        };
        match &self.term {
            Term::Dot => f.write_str("."),
            Term::Nil => f.write_str("nil"),
            Term::Bool(b) => write!(f, "{b}"),
            Term::Number(_, source) | Term::Text(_, source) => f.write_str(source),
            Term::Field(names) => dotted(f, names),
            Term::Variable(name, names) => f.write_str(name).and_then(|()| dotted(f, names)),
            Term::Function(name) => f.write_str(name),
            Term::Pipe(pipe) => write!(f, "({pipe})"),
            Term::Chain(inner, names) => write!(f, "{inner}").and_then(|()| dotted(f, names)),
        }
    }
}

type Result<T> = std::result::Result<T, String>;

/// Parses a template. `is_function` says which functions there are.
///
/// # Errors
/// Fails with Go's text: `template: NAME:LINE: …`.
pub(super) fn parse(name: &str, source: &str, is_function: fn(&str) -> bool) -> Result<Tree> {
    let mut parser = Parser {
        name,
        source,
        tokens: lex::tokens(source),
        next: 0,
        variables: vec!["$".to_owned()],
        loops: 0,
        is_function,
        defined: HashMap::new(),
    };
    let (root, end) = parser.list(true)?;
    match end {
        Stop::Eof => {}
        Stop::End => return Err(parser.fail("unexpected {{end}}")),
        Stop::Else => return Err(parser.fail("unexpected {{else}}")),
    }
    Ok(Tree { name: name.to_owned(), source: source.to_owned(), root, defined: parser.defined })
}

struct Parser<'a> {
    name: &'a str,
    source: &'a str,
    tokens: Vec<Token>,
    next: usize,
    variables: Vec<String>,
    loops: usize,
    is_function: fn(&str) -> bool,
    defined: HashMap<String, Vec<Node>>,
}

/// What ended a list of nodes.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Stop {
    /// The end of the template.
    Eof,
    /// `{{end}}`
    End,
    /// `{{else`; what follows is not read yet.
    Else,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
    }

    fn take_word(&mut self) -> Token {
        self.skip_space();
        self.take()
    }

    fn peek_word(&mut self) -> &Token {
        self.skip_space();
        self.peek()
    }

    fn fail(&self, message: impl fmt::Display) -> String {
        let at = self.tokens[self.next.saturating_sub(1).min(self.tokens.len() - 1)].at;
        let line = 1 + self.source[..at].matches('\n').count();
        format!("template: {}:{line}: {message}", self.name)
    }

    fn unexpected(&self, token: &Token, context: &str) -> String {
        match token.kind {
            Kind::Error => self.fail(&token.text),
            Kind::Eof => self.fail(format_args!("unexpected EOF in {context}")),
            Kind::Keyword | Kind::Dot | Kind::Nil => {
                self.fail(format_args!("unexpected <{}> in {context}", token.text))
            }
            _ if token.text.chars().count() > 10 => {
                let begin: String = token.text.chars().take(10).collect();
                self.fail(format_args!("unexpected {begin:?}... in {context}"))
            }
            _ => self.fail(format_args!("unexpected {:?} in {context}", token.text)),
        }
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token> {
        let token = self.take_word();
        if token.kind == kind { Ok(token) } else { Err(self.unexpected(&token, context)) }
    }

    /// Reads nodes up to `{{end}}`, `{{else` or the end.
    fn list(&mut self, top: bool) -> Result<(Vec<Node>, Stop)> {
        let mut nodes = Vec::new();
        loop {
            let token = self.take();
            match token.kind {
                Kind::Text => nodes.push(Node::Text(token.text)),
                Kind::Eof if top => return Ok((nodes, Stop::Eof)),
                Kind::Eof => return Err(self.fail("unexpected EOF")),
                Kind::Open => {
                    let word = self.peek_word().clone();
                    if word.kind != Kind::Keyword {
                        nodes.push(Node::Action(self.statement("command")?));
                        continue;
                    }
                    self.take_word();
                    match word.text.as_str() {
                        "end" => {
                            self.expect(Kind::Close, "end")?;
                            return Ok((nodes, Stop::End));
                        }
                        "else" => return Ok((nodes, Stop::Else)),
                        "define" if top => self.define()?,
                        keyword => nodes.push(self.control(keyword, &word)?),
                    }
                }
                _ => return Err(self.unexpected(&token, "input")),
            }
        }
    }

    fn control(&mut self, keyword: &str, word: &Token) -> Result<Node> {
        match keyword {
            "if" => self.branch("if").map(Node::If),
            "with" => self.branch("with").map(Node::With),
            "range" => self.branch("range").map(Node::Range),
            "break" | "continue" => {
                if self.loops == 0 {
                    return Err(self.fail(format_args!("{{{{{keyword}}}}} outside {{{{range}}}}")));
                }
                self.expect(Kind::Close, &format!("{{{{{keyword}}}}}"))?;
                Ok(if keyword == "break" { Node::Break } else { Node::Continue })
            }
            "template" => {
                let (at, name) = self.template_name("template clause")?;
                let pipe = self.optional_pipe("template clause")?;
                Ok(Node::Template { at, name, pipe })
            }
            "block" => {
                let (at, name) = self.template_name("block clause")?;
                let pipe = self.statement("block clause")?;
                self.body_of(name.clone())?;
                Ok(Node::Template { at, name, pipe: Some(pipe) })
            }
            _ => Err(self.unexpected(word, "command")),
        }
    }

    /// The name of a template, and where it stands.
    fn template_name(&mut self, context: &str) -> Result<(usize, String)> {
        let token = self.expect(Kind::Quoted, context)?;
        Ok((token.at, self.unquote(&token)?))
    }

    fn optional_pipe(&mut self, context: &str) -> Result<Option<Pipe>> {
        if self.peek_word().kind == Kind::Close {
            self.take_word();
            return Ok(None);
        }
        self.statement(context).map(Some)
    }

    fn define(&mut self) -> Result<()> {
        let (_, name) = self.template_name("define clause")?;
        self.expect(Kind::Close, "define clause")?;
        self.body_of(name)
    }

    /// Reads the body of a named template, which sees no variables from outside.
    fn body_of(&mut self, name: String) -> Result<()> {
        let (variables, loops) = (std::mem::replace(&mut self.variables, vec!["$".to_owned()]), self.loops);
        self.loops = 0;
        let (body, end) = self.list(false)?;
        if end != Stop::End {
            return Err(self.fail("unexpected {{else}} in define clause"));
        }
        (self.variables, self.loops) = (variables, loops);
        self.defined.insert(name, body);
        Ok(())
    }

    fn branch(&mut self, context: &'static str) -> Result<Branch> {
        let scope = self.variables.len();
        let pipe = self.statement(context)?;
        self.loops += usize::from(context == "range");
        let (body, end) = self.list(false)?;
        self.loops -= usize::from(context == "range");
        let otherwise = if end == Stop::Else { self.otherwise(context)? } else { Vec::new() };
        self.variables.truncate(scope);
        Ok(Branch { pipe, body, otherwise })
    }

    fn otherwise(&mut self, context: &'static str) -> Result<Vec<Node>> {
        let word = self.peek_word().clone();
        if word.kind == Kind::Keyword && word.text == context && context != "range" {
            // `{{else if x}}` is `{{else}}{{if x}}` with one `{{end}}` for both.
            self.take_word();
            let inner = self.branch(context)?;
            return Ok(vec![if context == "if" { Node::If(inner) } else { Node::With(inner) }]);
        }
        self.expect(Kind::Close, "else")?;
        let (nodes, end) = self.list(false)?;
        if end == Stop::Else {
            return Err(self.fail("expected end; found {{else}}"));
        }
        Ok(nodes)
    }

    fn statement(&mut self, context: &str) -> Result<Pipe> {
        self.pipe(context, Kind::Close)
    }

    fn pipe(&mut self, context: &str, end: Kind) -> Result<Pipe> {
        let mut pipe = Pipe { variables: Vec::new(), assigns: false, commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.peek_word().clone();
            match token.kind {
                kind if kind == end => {
                    self.take_word();
                    self.check_pipe(&pipe, context)?;
                    return Ok(pipe);
                }
                Kind::Bool
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::Quoted
                | Kind::Variable
                | Kind::OpenParen => {
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => {
                    self.take_word();
                    return Err(self.unexpected(&token, context));
                }
            }
        }
    }

    /// Reads `$x :=`, `$x =` and, for `range`, `$i, $x :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<()> {
        let begin = self.next;
        while self.peek_word().kind == Kind::Variable {
            let variable = self.take_word();
            match self.peek_word().kind {
                kind @ (Kind::Declare | Kind::Assign) => {
                    self.take_word();
                    pipe.assigns = kind == Kind::Assign;
                    pipe.variables.push(variable.text);
                    break;
                }
                Kind::Comma if context == "range" && pipe.variables.is_empty() => {
                    self.take_word();
                    pipe.variables.push(variable.text);
                }
                Kind::Comma => return Err(self.fail(format_args!("too many declarations in {context}"))),
                _ if pipe.variables.is_empty() => {
                    self.next = begin;
                    return Ok(());
                }
                _ => return Err(self.fail("range can only initialize variables")),
            }
        }
        if !pipe.assigns {
            self.variables.extend(pipe.variables.iter().cloned());
        } else if let Some(unknown) = pipe.variables.iter().find(|name| !self.variables.contains(name)) {
            return Err(self.fail(format_args!("undefined variable {unknown:?}")));
        }
        Ok(())
    }

    fn check_pipe(&self, pipe: &Pipe, context: &str) -> Result<()> {
        if pipe.commands.is_empty() {
            return Err(self.fail(format_args!("missing value for {context}")));
        }
        for (index, command) in pipe.commands.iter().enumerate().skip(1) {
            if command.words.first().is_some_and(|word| !word.is_executable()) {
                return Err(self.fail(format_args!("non executable command in pipeline stage {}", index + 1)));
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Command> {
        let mut words = Vec::new();
        loop {
            self.skip_space();
            if let Some(word) = self.operand()? {
                words.push(word);
            }
            match self.peek().kind {
                Kind::Space => self.next += 1,
                Kind::Close | Kind::CloseParen => break,
                Kind::Pipe => {
                    self.next += 1;
                    break;
                }
                _ => {
                    let token = self.take();
                    return Err(self.unexpected(&token, "operand"));
                }
            }
        }
        if words.is_empty() {
            return Err(self.fail("empty command"));
        }
        Ok(Command { words })
    }

    fn operand(&mut self) -> Result<Option<Operand>> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        let mut names = Vec::new();
        let mut at = operand.at;
        while self.peek().kind == Kind::Field {
            let token = self.take();
            // As in Go, the position of `.A.B` in errors is that of `.B`.
            at = if names.is_empty() { token.at } else { at };
            names.push(token.text[1..].to_owned());
        }
        if names.is_empty() {
            return Ok(Some(operand));
        }
        match &mut operand.term {
            Term::Field(fields) | Term::Variable(_, fields) => {
                fields.append(&mut names);
                operand.at = at;
                Ok(Some(operand))
            }
            Term::Dot | Term::Nil | Term::Bool(_) | Term::Number(..) | Term::Text(..) => {
                Err(self.fail(format_args!("unexpected . after term {:?}", operand.to_string())))
            }
            _ => Ok(Some(Operand { at, term: Term::Chain(Box::new(operand), names) })),
        }
    }

    fn term(&mut self) -> Result<Option<Operand>> {
        let token = self.take_word();
        let term = match token.kind {
            Kind::Dot => Term::Dot,
            Kind::Nil => Term::Nil,
            Kind::Bool => Term::Bool(token.text == "true"),
            Kind::Number => Term::Number(self.number(&token.text)?, token.text),
            Kind::Quoted => Term::Text(self.unquote(&token)?, token.text),
            Kind::Field => Term::Field(vec![token.text[1..].to_owned()]),
            Kind::Identifier if (self.is_function)(&token.text) => Term::Function(token.text),
            Kind::Identifier => return Err(self.fail(format_args!("function {:?} not defined", token.text))),
            Kind::Variable if self.variables.contains(&token.text) => Term::Variable(token.text, Vec::new()),
            Kind::Variable => return Err(self.fail(format_args!("undefined variable {:?}", token.text))),
            Kind::OpenParen => Term::Pipe(Box::new(self.pipe("parenthesized pipeline", Kind::CloseParen)?)),
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand { at: token.at, term }))
    }

    fn unquote(&self, token: &Token) -> Result<String> {
        super::unquote::string(&token.text).ok_or_else(|| self.fail("invalid syntax"))
    }

    fn number(&self, text: &str) -> Result<Number> {
        super::unquote::number(text).ok_or_else(|| self.fail(format_args!("illegal number syntax: {text:?}")))
    }
}
