//! Runs a template over a value, with the rules and error texts of Go's
//! `text/template`.

use std::fmt;

use super::functions;
use super::parse::{Branch, Command, Node, Number, Operand, Pipe, Term, Tree};
use super::print;
use super::value::Value;

/// Why a template cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ExecuteError {
    /// Go's text: `template: ps:1:2: executing "ps" at <.Foo>: can't evaluate field Foo in type Row`.
    pub message: String,
    /// The fields there are, where an unknown one was asked for.
    pub candidates: Vec<String>,
}

type Result<T> = std::result::Result<T, Box<ExecuteError>>;

/// How deep templates may call each other: one that calls itself must end.
const MAX_DEPTH: usize = 1000;

/// Executes `tree` with `data` as the dot.
///
/// # Errors
/// Fails on the first thing that Go fails on. What was printed before stays in `out`.
pub(super) fn execute(tree: &Tree, data: &Value, out: &mut String) -> std::result::Result<(), ExecuteError> {
    let mut state =
        State { tree, name: &tree.name, out, variables: vec![("$".to_owned(), data.clone())], depth: 0 };
    state.walk(data, &tree.root).map(drop).map_err(|error| *error)
}

struct State<'a> {
    tree: &'a Tree,
    /// The template being executed.
    name: &'a str,
    out: &'a mut String,
    variables: Vec<(String, Value)>,
    depth: usize,
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl<'a> State<'a> {
    fn walk(&mut self, dot: &Value, nodes: &'a [Node]) -> Result<Flow> {
        for node in nodes {
            let flow = match node {
                Node::Text(text) => {
                    self.out.push_str(text);
                    Flow::Next
                }
                Node::Action(pipe) => {
                    // Most of what lists print: nothing is copied for it.
                    if let Some((word, names)) = pipe.only_fields() {
                        let value = self.follow(dot, word, names)?;
                        print::push(self.out, value);
                        continue;
                    }
                    let value = self.pipe(dot, pipe)?;
                    if pipe.variables.is_empty() {
                        print::push(self.out, &value);
                    }
                    Flow::Next
                }
                Node::If(branch) => self.branch(dot, branch, false)?,
                Node::With(branch) => self.branch(dot, branch, true)?,
                Node::Range(branch) => self.range(dot, branch)?,
                Node::Template { at, name, pipe } => {
                    self.template(dot, *at, name, pipe.as_ref())?;
                    Flow::Next
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn branch(&mut self, dot: &Value, branch: &'a Branch, changes_dot: bool) -> Result<Flow> {
        let scope = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let flow = match (value.is_true(), changes_dot) {
            (true, true) => self.walk(&value, &branch.body),
            (true, false) => self.walk(dot, &branch.body),
            (false, _) => self.walk(dot, &branch.otherwise),
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, dot: &Value, branch: &'a Branch) -> Result<Flow> {
        let scope = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let pairs: Vec<(Value, Value)> = match value {
            Value::List(list) => (0_i64..).map(Value::Int).zip(list.iter().cloned()).collect(),
            Value::Map(map) => {
                map.iter().map(|(key, item)| (Value::Text(key.clone()), item.clone())).collect()
            }
            Value::Int(end) => (0..end.max(0)).map(|i| (Value::Int(i), Value::Int(i))).collect(),
            Value::Missing | Value::Nil | Value::Empty => Vec::new(),
            other => {
                let word = &branch.pipe.commands[0].words[0];
                return Err(self.fail(word, format_args!("range can't iterate over {}", print::text(&other))));
            }
        };
        if pairs.is_empty() {
            let flow = self.walk(dot, &branch.otherwise);
            self.variables.truncate(scope);
            return flow;
        }
        let body_scope = self.variables.len();
        for (key, item) in pairs {
            match branch.pipe.variables.as_slice() {
                [only] => self.set(only, item.clone()),
                [first, second] => {
                    self.set(first, key);
                    self.set(second, item.clone());
                }
                _ => {}
            }
            let flow = self.walk(&item, &branch.body)?;
            self.variables.truncate(body_scope);
            if flow == Flow::Break {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(Flow::Next)
    }

    fn template(&mut self, dot: &Value, at: usize, name: &'a str, pipe: Option<&'a Pipe>) -> Result<()> {
        let context = format!("{{{{template {name:?}}}}}");
        let Some(body) = self.tree.defined.get(name) else {
            return Err(self.fail_at(at, &context, format_args!("template {name:?} not defined")));
        };
        if self.depth >= MAX_DEPTH {
            let message = format_args!("exceeded maximum template depth ({MAX_DEPTH})");
            return Err(self.fail_at(at, &context, message));
        }
        let dot = match pipe {
            Some(pipe) => self.pipe(dot, pipe)?,
            None => Value::Missing,
        };
        let variables = std::mem::replace(&mut self.variables, vec![("$".to_owned(), dot.clone())]);
        let outer = std::mem::replace(&mut self.name, name);
        self.depth += 1;
        let walked = self.walk(&dot, body);
        self.depth -= 1;
        (self.variables, self.name) = (variables, outer);
        walked.map(drop)
    }

    /// Sets the innermost variable of a name.
    fn set(&mut self, name: &str, value: Value) {
        if let Some((_, slot)) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            *slot = value;
        }
    }

    fn variable(&self, name: &str) -> Value {
        self.variables
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map_or(Value::Missing, |(_, v)| v.clone())
    }

    fn pipe(&mut self, dot: &Value, pipe: &'a Pipe) -> Result<Value> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?);
        }
        let value = value.unwrap_or(Value::Missing);
        for name in &pipe.variables {
            if pipe.assigns {
                self.set(name, value.clone());
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    /// Evaluates one command; `piped` is what the one before it gave.
    fn command(&mut self, dot: &Value, command: &'a Command, piped: Option<Value>) -> Result<Value> {
        let (first, rest) = command.words.split_first().expect("the parser makes no empty commands");
        match &first.term {
            Term::Function(name) => self.function(dot, name, command, piped),
            Term::Field(names) => {
                let arguments = self.arguments(dot, rest, piped)?;
                self.fields(dot.clone(), first, names, &arguments)
            }
            Term::Variable(name, names) => {
                let arguments = self.arguments(dot, rest, piped)?;
                if names.is_empty() && !arguments.is_empty() {
                    return Err(self.fail(first, format_args!("can't give argument to non-function {first}")));
                }
                self.fields(self.variable(name), first, names, &arguments)
            }
            Term::Chain(inner, names) => {
                let receiver = self.operand(dot, inner)?;
                let arguments = self.arguments(dot, rest, piped)?;
                self.fields(receiver, first, names, &arguments)
            }
            _ if !rest.is_empty() || piped.is_some() => {
                Err(self.fail(first, format_args!("can't give argument to non-function {first}")))
            }
            Term::Nil => Err(self.fail(first, "nil is not a command".to_owned())),
            _ => self.operand(dot, first),
        }
    }

    fn arguments(&mut self, dot: &Value, words: &'a [Operand], piped: Option<Value>) -> Result<Vec<Value>> {
        let mut arguments = Vec::with_capacity(words.len() + usize::from(piped.is_some()));
        for word in words {
            arguments.push(self.operand(dot, word)?);
        }
        arguments.extend(piped);
        Ok(arguments)
    }

    /// The value of an argument.
    fn operand(&mut self, dot: &Value, operand: &'a Operand) -> Result<Value> {
        match &operand.term {
            Term::Dot => Ok(dot.clone()),
            Term::Nil => Ok(Value::Nil),
            Term::Bool(b) => Ok(Value::Bool(*b)),
            Term::Number(Number::Int(i), _) => Ok(Value::Int(*i)),
            Term::Number(Number::Float(f), _) => Ok(Value::Float(*f)),
            Term::Text(text, _) => Ok(Value::Text(text.clone())),
            Term::Field(names) => self.fields(dot.clone(), operand, names, &[]),
            Term::Variable(name, names) => self.fields(self.variable(name), operand, names, &[]),
            Term::Pipe(pipe) => self.pipe(dot, pipe),
            Term::Chain(inner, names) => {
                let receiver = self.operand(dot, inner)?;
                self.fields(receiver, operand, names, &[])
            }
            Term::Function(name) => match functions::call(name, &[]) {
                Ok(value) => Ok(value),
                Err(message) => Err(self.fail(operand, message)),
            },
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        name: &str,
        command: &'a Command,
        piped: Option<Value>,
    ) -> Result<Value> {
        let (first, rest) = command.words.split_first().expect("the parser makes no empty commands");
        if name == "and" || name == "or" {
            // Only as many arguments are evaluated as decide the result.
            let mut last = None;
            for word in rest {
                let value = self.operand(dot, word)?;
                if value.is_true() == (name == "or") {
                    return Ok(value);
                }
                last = Some(value);
            }
            return match piped.or(last) {
                Some(value) => Ok(value),
                None => {
                    Err(self
                        .fail(first, format_args!("wrong number of args for {name}: want at least 1 got 0")))
                }
            };
        }
        let arguments = self.arguments(dot, rest, piped)?;
        functions::call(name, &arguments).map_err(|message| {
            if message.starts_with("error calling") {
                self.fail_at(first.at, &command.to_string(), message)
            } else {
                self.fail(first, message)
            }
        })
    }

    /// Follows `.A.B`; the last one gets the arguments.
    fn fields(
        &self,
        receiver: Value,
        node: &Operand,
        names: &[String],
        arguments: &[Value],
    ) -> Result<Value> {
        match names.last() {
            Some(last) if !arguments.is_empty() => {
                self.method(self.follow(&receiver, node, names)?, node, last, arguments)
            }
            Some(_) => self.follow(&receiver, node, names).cloned(),
            None => Ok(receiver),
        }
    }

    /// Follows `.A.B` without arguments.
    fn follow<'v>(&self, receiver: &'v Value, node: &Operand, names: &[String]) -> Result<&'v Value> {
        names.iter().try_fold(receiver, |value, name| self.field(value, node, name))
    }

    fn field<'v>(&self, receiver: &'v Value, node: &Operand, name: &str) -> Result<&'v Value> {
        const MISSING: &Value = &Value::Missing;
        match receiver {
            Value::Struct(data) => match data.field(name) {
                Some(value) => Ok(value),
                None => {
                    let message = format!("can't evaluate field {name} in type {}", receiver.type_name());
                    let mut error = self.fail(node, message);
                    error.candidates = data.fields.iter().map(|(name, _)| name.to_string()).collect();
                    Err(error)
                }
            },
            Value::Map(map) => Ok(Value::entry(map, name).unwrap_or(MISSING)),
            Value::Missing | Value::Empty => Ok(receiver),
            Value::Nil => {
                let message = format!("nil pointer evaluating {}.{name}", receiver.type_name());
                Err(self.fail(node, message))
            }
            other => {
                let message = format!("can't evaluate field {name} in type {}", other.type_name());
                Err(self.fail(node, message))
            }
        }
    }

    /// `.Label "name"`: a method of podman's types that looks into a map. Here
    /// it is a field that holds the map.
    fn method(&self, value: &Value, node: &Operand, name: &str, arguments: &[Value]) -> Result<Value> {
        match (value, arguments) {
            (Value::Map(map), [Value::Text(key)]) => {
                Ok(Value::entry(map, key).cloned().unwrap_or_else(|| Value::Text(String::new())))
            }
            (Value::Empty, [Value::Text(_)]) => Ok(Value::Empty),
            _ => Err(self.fail(node, format_args!("{name} has arguments but cannot be invoked as function"))),
        }
    }

    fn fail(&self, node: &Operand, message: impl fmt::Display) -> Box<ExecuteError> {
        self.fail_at(node.at, &node.to_string(), message)
    }

    fn fail_at(&self, at: usize, context: &str, message: impl fmt::Display) -> Box<ExecuteError> {
        let before = &self.tree.source[..at];
        let line = 1 + before.matches('\n').count();
        let column = at - before.rfind('\n').map_or(0, |newline| newline + 1);
        let message = format!(
            "template: {}:{line}:{column}: executing {:?} at <{context}>: {message}",
            self.tree.name, self.name
        );
        Box::new(ExecuteError { message, candidates: Vec::new() })
    }
}
