//! YAML as a tree whose every node knows where it stands.
//!
//! The values keep the text that was written: `0080`, `0x50` and `1e3` reach the parsers of ports
//! and ids as they stand, and no spelling of a number, truth value or date is guessed at.

use std::collections::HashMap;
use std::ops::Range;

use serde_yaml::granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError};

use super::fault::Fault;

/// Bytes of the text, from the first to behind the last.
pub(super) type Span = Range<usize>;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing: an empty value, `null` or `~`.
    Null,
    /// A scalar, unescaped.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order written; keys can repeat.
    Map(Vec<(Name, Node)>),
}

/// The key of a mapping and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) span: Span,
    pub(super) text: String,
}

impl Value {
    /// What it is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Text(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The value of a key, where this is a mapping that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(n, _)| n.text == key).map(|(_, v)| v),
            Value::Null | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// Nodes and levels, itself included.
    fn measure(&self) -> (usize, usize) {
        let below = |(nodes, levels): (usize, usize), child: &Self| {
            let (n, l) = child.measure();
            (nodes + n, levels.max(l + 1))
        };
        match &self.value {
            Value::Null | Value::Text(_) => (1, 1),
            Value::List(items) => items.iter().fold((1, 1), below),
            Value::Map(entries) => entries.iter().map(|(_, v)| v).fold((1, 1), below),
        }
    }
}

/// Reads a text; an empty one is an empty mapping.
pub(super) fn read(text: &str) -> Result<Node, (Span, Fault)> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    let mut tree = Tree::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|e| syntax(text, &e))?;
        let span = clip(text, span.byte_range());
        tree.take(event, &span)?;
    }
    let root = tree.root.filter(|root| !matches!(root.value, Value::Null));
    Ok(root.unwrap_or(Node {
        span: 0..0,
        value: Value::Map(Vec::new()),
    }))
}

/// A tree that is being built from the events of the parser.
#[derive(Default)]
struct Tree {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// A collection whose end has not come.
struct Open {
    anchor: usize,
    node: Node,
    /// The key that waits for its value.
    key: Option<Name>,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), (Span, Fault)> {
        let fault = |fault| Err((span.clone(), fault));
        let (value, anchor, tag) = match event {
            Event::DocumentStart(..) if self.root.is_some() => return fault(Fault::Documents),
            Event::Alias(id) => {
                // A collection that contains itself is not in the table while it is open.
                let Some(known) = self.anchors.get(&id) else {
                    return fault(Fault::Cycle);
                };
                let (nodes, levels) = known.measure();
                self.nodes += nodes;
                if self.nodes > NODES_MAX || self.open.len() + levels > DEPTH_MAX {
                    return fault(Fault::TooLarge);
                }
                let mut node = known.clone();
                node.span = span.clone();
                return self.place(node, 0);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let bare = style == ScalarStyle::Plain;
                let null = bare && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null {
                    Value::Null
                } else {
                    Value::Text(text.into_owned())
                };
                (value, anchor, tag)
            }
            Event::SequenceStart(_, anchor, tag) => (Value::List(Vec::new()), anchor, tag),
            Event::MappingStart(_, anchor, tag) => (Value::Map(Vec::new()), anchor, tag),
            Event::SequenceEnd | Event::MappingEnd => {
                let mut open = self.open.pop().expect("the parser balances its events");
                open.node.span.end = span.end.max(open.node.span.end);
                return self.place(open.node, open.anchor);
            }
            _ => return Ok(()),
        };
        if let Some(tag) = tag {
            return fault(Fault::Tag(tag.original()));
        }
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return fault(Fault::TooLarge);
        }
        let collection = matches!(value, Value::List(_) | Value::Map(_));
        let node = Node {
            span: span.clone(),
            value,
        };
        if collection {
            self.open.push(Open {
                anchor,
                node,
                key: None,
            });
            return Ok(());
        }
        self.place(node, anchor)
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), (Span, Fault)> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(Open {
            node: parent, key, ..
        }) = self.open.last_mut()
        else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut parent.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match key.take() {
                Some(name) => entries.push((name, node)),
                None => {
                    let Value::Text(text) = node.value else {
                        return Err((node.span, Fault::KeyText));
                    };
                    *key = Some(Name {
                        span: node.span,
                        text,
                    });
                }
            },
            Value::Null | Value::Text(_) => unreachable!("only collections are opened"),
        }
        Ok(())
    }
}

fn syntax(text: &str, error: &ScanError) -> (Span, Fault) {
    let at = error.marker().byte_offset().unwrap_or(text.len());
    let span = clip(text, Some(at..at));
    let fault = match error.kind() {
        ErrorKind::UnknownAnchor | ErrorKind::MissingAnchorOrAliasName => Fault::Star,
        ErrorKind::RecursionLimitExceeded => Fault::TooLarge,
        _ => Fault::Syntax(error.info()),
    };
    (span, fault)
}

/// A span that lies in the text, on the edges of characters.
fn clip(text: &str, span: Option<Span>) -> Span {
    let span = span.unwrap_or(text.len()..text.len());
    let start = text.floor_char_boundary(span.start);
    let end = text.floor_char_boundary(span.end).max(start);
    start..end
}

/// Levels of lists and mappings: three times what the deepest key needs.
const DEPTH_MAX: usize = 24;
/// Values of a file, aliases expanded: bounds the memory that a small hostile file can ask for.
const NODES_MAX: usize = 100_000;
