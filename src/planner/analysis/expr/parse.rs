//! Tokens of a condition to a tree, by precedence climbing. Knows the grammar and its limits; the
//! meaning of operators is in `eval`.

use std::sync::Arc;

use super::functions::{Shape, shape};
use super::lex::{Spanned, Token, lex};
use super::{MAX_DEPTH, MAX_LENGTH, MAX_RANGE, MetricValue};

/// Deepest tree: long chains (`a && b && …`) lean to the left, one level per operator.
const MAX_TREE: usize = 256;

/// A parsed condition.
#[derive(Debug)]
pub(super) enum Node {
    /// A literal.
    Literal(MetricValue),
    /// `result` or a `let` name.
    Name(String),
    /// `#` or `#index` inside a predicate.
    Hash(&'static str),
    /// `-x`, `!x`.
    Unary(&'static str, Box<Node>),
    /// `a < b` and every other operator with two sides.
    Binary(&'static str, Box<Node>, Box<Node>),
    /// `c ? a : b`.
    Ternary(Box<Node>, Box<Node>, Box<Node>),
    /// `[a, b]`.
    List(Vec<Node>),
    /// `{k: v}`.
    Map(Vec<(String, Node)>),
    /// `of.key`, `of[key]`; with `true`, `?.`.
    Member(Box<Node>, Box<Node>, bool),
    /// `of[from:to]`.
    Slice(Box<Node>, Option<Box<Node>>, Option<Box<Node>>),
    /// A chain of members in which `?.` on nil makes the whole chain nil.
    Chain(Box<Node>),
    /// `f(args, predicate, more)`.
    Call(&'static str, Vec<Node>, Option<Box<Node>>),
    /// `let name = value; body`.
    Let(String, Box<Node>, Box<Node>),
}

/// A node and the height of its tree.
type Tree = (Node, usize);

/// Parses a whole condition.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!(
            "is {} bytes long: at most {MAX_LENGTH} are allowed",
            text.len()
        ));
    }
    let tokens = lex(text)?;
    if tokens.is_empty() {
        return Err("is empty".to_owned());
    }
    let mut parser = Parser {
        tokens: &tokens,
        next: 0,
        depth: 0,
        closures: 0,
        names: Vec::new(),
        end: text.len(),
    };
    let (node, _) = parser.sequence()?;
    match parser.tokens.get(parser.next) {
        None => Ok(node),
        Some(extra) => parser.fault(&format!("unexpected {}", describe(&extra.token))),
    }
}

fn describe(token: &Token) -> String {
    match token {
        Token::Int(n) => n.to_string(),
        Token::Float(n) => n.to_string(),
        Token::Text(text) => format!("text {text:?}"),
        Token::Word(word) => format!("{word:?}"),
        Token::Sign(sign) => format!("{sign:?}"),
    }
}

/// Binary operators: precedence and canonical name by spelling. Higher binds tighter; `**` leans right.
fn binary(spelling: &str) -> Option<(u8, &'static str)> {
    Some(match spelling {
        "|" => (0, "|"),
        "or" | "||" => (10, "||"),
        "and" | "&&" => (15, "&&"),
        "==" => (20, "=="),
        "!=" => (20, "!="),
        "<" => (20, "<"),
        ">" => (20, ">"),
        "<=" => (20, "<="),
        ">=" => (20, ">="),
        "in" => (20, "in"),
        "not" => (20, "not"),
        "contains" => (20, "contains"),
        "startsWith" => (20, "startsWith"),
        "endsWith" => (20, "endsWith"),
        "matches" => (20, "matches"),
        ".." => (25, ".."),
        "+" => (30, "+"),
        "-" => (30, "-"),
        "*" => (60, "*"),
        "/" => (60, "/"),
        "%" => (60, "%"),
        "**" | "^" => (100, "**"),
        "??" => (200, "??"),
        _ => return None,
    })
}

struct Parser<'a> {
    tokens: &'a [Spanned],
    next: usize,
    depth: usize,
    closures: usize,
    names: Vec<String>,
    end: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|t| &t.token)
    }

    fn spelling(&self) -> &str {
        self.peek().map_or("", Token::text)
    }

    fn bump(&mut self) {
        self.next = self.next.saturating_add(1);
    }

    fn accept(&mut self, spelling: &str) -> bool {
        let found = self.spelling() == spelling;
        if found {
            self.bump();
        }
        found
    }

    fn expect(&mut self, spelling: &str) -> Result<(), String> {
        if self.accept(spelling) {
            return Ok(());
        }
        let found = self.peek().map_or_else(|| "the end".to_owned(), describe);
        self.fault(&format!("expected {spelling:?}, found {found}"))
    }

    fn fault<T>(&self, message: &str) -> Result<T, String> {
        let at = self.tokens.get(self.next).map_or(self.end, |t| t.at);
        Err(format!("{message} at position {}", at.saturating_add(1)))
    }

    fn grow(&self, heights: &[usize]) -> Result<usize, String> {
        let height = heights.iter().copied().max().unwrap_or(0).saturating_add(1);
        if height > MAX_TREE {
            return self.fault("too many operators in one expression");
        }
        Ok(height)
    }

    /// `let x = …; …` or an expression.
    fn sequence(&mut self) -> Result<Tree, String> {
        if !self.accept("let") {
            return self.expression(0);
        }
        let name = match self.peek() {
            Some(Token::Word(word)) if !word.starts_with('#') => word.clone(),
            _ => return self.fault("expected a name after \"let\""),
        };
        self.bump();
        self.expect("=")?;
        let (value, a) = self.expression(0)?;
        self.expect(";")?;
        self.names.push(name.clone());
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return self.fault("nested too deeply");
        }
        let body = self.sequence();
        self.depth = self.depth.saturating_sub(1);
        self.names.pop();
        let (body, b) = body?;
        let height = self.grow(&[a, b])?;
        Ok((Node::Let(name, Box::new(value), Box::new(body)), height))
    }

    fn expression(&mut self, least: u8) -> Result<Tree, String> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return self.fault("nested too deeply");
        }
        let tree = self.climb(least);
        self.depth = self.depth.saturating_sub(1);
        tree
    }

    fn climb(&mut self, least: u8) -> Result<Tree, String> {
        let mut left = self.unary()?;
        while let Some((precedence, name)) = binary(self.spelling()) {
            if precedence < least {
                break;
            }
            left = self.binary(left, precedence, name)?;
        }
        if least == 0 && self.accept("?") {
            let (yes, a) = self.expression(0)?;
            self.expect(":")?;
            let (no, b) = self.expression(0)?;
            let height = self.grow(&[left.1, a, b])?;
            left = (
                Node::Ternary(Box::new(left.0), Box::new(yes), Box::new(no)),
                height,
            );
        }
        Ok(left)
    }

    fn binary(&mut self, left: Tree, precedence: u8, name: &'static str) -> Result<Tree, String> {
        self.bump();
        let (name, negated) = if name == "not" {
            let found = ["in", "contains", "startsWith", "endsWith", "matches"]
                .into_iter()
                .find(|n| *n == self.spelling());
            let Some(found) = found else {
                return self.fault("unexpected \"not\"");
            };
            self.bump();
            (found, true)
        } else {
            (name, false)
        };
        if name == "|" {
            return self.pipe(left);
        }
        let tighter = if name == "**" {
            precedence
        } else {
            precedence.saturating_add(1)
        };
        let (right, b) = self.expression(tighter)?;
        if name == ".." {
            self.check_range(&left.0, &right)?;
        }
        if name == "matches" {
            self.check_pattern(&right)?;
        }
        let height = self.grow(&[left.1, b])?;
        let node = Node::Binary(name, Box::new(left.0), Box::new(right));
        if negated {
            Ok((Node::Unary("!", Box::new(node)), self.grow(&[height])?))
        } else {
            Ok((node, height))
        }
    }

    fn check_range(&self, from: &Node, to: &Node) -> Result<(), String> {
        match (from, to) {
            (Node::Literal(MetricValue::Int(a)), Node::Literal(MetricValue::Int(b)))
                if b.saturating_sub(*a) <= MAX_RANGE =>
            {
                Ok(())
            }
            _ => self.fault(&format!(
                "a range must go between two written numbers at most {MAX_RANGE} apart; it ends"
            )),
        }
    }

    fn check_pattern(&self, pattern: &Node) -> Result<(), String> {
        match pattern {
            Node::Literal(MetricValue::Text(text)) => super::eval::pattern(text).map(|_| ()),
            _ => self.fault("\"matches\" needs a written pattern"),
        }
    }

    fn pipe(&mut self, left: Tree) -> Result<Tree, String> {
        let name = match self.peek() {
            Some(Token::Word(word)) => word.clone(),
            _ => return self.fault("expected a function after \"|\""),
        };
        self.bump();
        let call = self.call(&name, Some(left))?;
        self.postfix(call)
    }

    fn unary(&mut self) -> Result<Tree, String> {
        // `!` and `not` bind looser than arithmetic, signs bind tighter than all but powers.
        let (name, precedence) = match self.spelling() {
            "!" | "not" => ("!", 50),
            "-" => ("-", 90),
            "+" => ("+", 90),
            _ => return self.primary(),
        };
        self.bump();
        let (node, height) = self.expression(precedence)?;
        let height = self.grow(&[height])?;
        Ok(match node {
            // Written negative numbers stay literals, so that ranges can see them.
            Node::Literal(MetricValue::Int(n)) if name == "-" => {
                (Node::Literal(MetricValue::Int(n.saturating_neg())), 1)
            }
            node => (Node::Unary(name, Box::new(node)), height),
        })
    }

    fn primary(&mut self) -> Result<Tree, String> {
        let Some(token) = self.peek().cloned() else {
            return self.fault("ends where a value is expected");
        };
        let literal = |value| (Node::Literal(value), 1);
        let tree = match token {
            Token::Int(n) => self.after(literal(MetricValue::Int(n))),
            Token::Float(n) => self.after(literal(MetricValue::Float(n))),
            Token::Text(text) => self.after(literal(MetricValue::text(text))),
            Token::Word(word) => self.word(&word)?,
            Token::Sign("(") => {
                self.bump();
                let inner = self.sequence()?;
                self.expect(")")?;
                inner
            }
            Token::Sign("[") => self.list()?,
            Token::Sign("{") => self.map()?,
            // `.name` in a predicate is `#.name`.
            Token::Sign(".") if self.closures > 0 => (Node::Hash("#"), 1),
            Token::Sign(_) => return self.fault(&format!("unexpected {}", describe(&token))),
        };
        self.postfix(tree)
    }

    fn after(&mut self, tree: Tree) -> Tree {
        self.bump();
        tree
    }

    fn word(&mut self, word: &str) -> Result<Tree, String> {
        let hash = ["#", "#index"].into_iter().find(|h| *h == word);
        let node = match (word, hash) {
            ("true", _) => Node::Literal(MetricValue::Bool(true)),
            ("false", _) => Node::Literal(MetricValue::Bool(false)),
            ("nil", _) => Node::Literal(MetricValue::Nil),
            (_, Some(hash)) if self.closures > 0 => Node::Hash(hash),
            (_, Some(_)) => return self.fault("\"#\" stands outside of all(), any(), filter() …"),
            _ => {
                if self
                    .tokens
                    .get(self.next.saturating_add(1))
                    .map(|t| t.token.text())
                    == Some("(")
                {
                    self.bump();
                    return self.call(word, None);
                }
                if word != "result" && !self.names.iter().any(|n| n == word) {
                    return self.fault(&format!(
                        "unknown name {word:?} (the value is called \"result\")"
                    ));
                }
                Node::Name(word.to_owned())
            }
        };
        Ok(self.after((node, 1)))
    }

    fn call(&mut self, name: &str, first: Option<Tree>) -> Result<Tree, String> {
        let Some((name, shape)) = shape(name) else {
            return self.fault(&format!("unknown function {name:?}"));
        };
        self.expect("(")?;
        let mut heights = Vec::new();
        let mut args = Vec::new();
        let mut predicate = None;
        if let Some((node, height)) = first {
            args.push(node);
            heights.push(height);
        }
        while self.spelling() != ")" {
            if args.len() == 1 && shape.has_predicate() && predicate.is_none() {
                let (node, height) = self.predicate()?;
                predicate = Some(Box::new(node));
                heights.push(height);
            } else {
                let (node, height) = self.expression(0)?;
                args.push(node);
                heights.push(height);
            }
            if !self.accept(",") {
                break;
            }
        }
        self.expect(")")?;
        if !shape.fits(args.len(), predicate.is_some()) {
            return self.fault(&format!(
                "{name}() takes {}; its call ends",
                Shape::describe(shape)
            ));
        }
        let height = self.grow(&heights)?;
        Ok((Node::Call(name, args, predicate), height))
    }

    fn predicate(&mut self) -> Result<Tree, String> {
        self.closures = self.closures.saturating_add(1);
        let braces = self.accept("{");
        let tree = if braces {
            self.sequence()
        } else {
            self.expression(0)
        };
        self.closures = self.closures.saturating_sub(1);
        let tree = tree?;
        if braces {
            self.expect("}")?;
        }
        Ok(tree)
    }

    fn list(&mut self) -> Result<Tree, String> {
        self.bump();
        let (mut items, mut heights) = (Vec::new(), Vec::new());
        while self.spelling() != "]" {
            let (node, height) = self.expression(0)?;
            items.push(node);
            heights.push(height);
            if !self.accept(",") {
                break;
            }
        }
        self.expect("]")?;
        let height = self.grow(&heights)?;
        Ok((Node::List(items), height))
    }

    fn map(&mut self) -> Result<Tree, String> {
        self.bump();
        let (mut items, mut heights) = (Vec::new(), Vec::new());
        while self.spelling() != "}" {
            let key = match self.peek() {
                Some(Token::Word(key) | Token::Text(key)) => key.clone(),
                _ => return self.fault("expected a key"),
            };
            self.bump();
            self.expect(":")?;
            let (node, height) = self.expression(0)?;
            items.push((key, node));
            heights.push(height);
            if !self.accept(",") {
                break;
            }
        }
        self.expect("}")?;
        let height = self.grow(&heights)?;
        Ok((Node::Map(items), height))
    }

    /// `.name`, `?.name`, `[i]`, `[a:b]` behind a value.
    fn postfix(&mut self, mut tree: Tree) -> Result<Tree, String> {
        let mut optional = false;
        loop {
            if self.accept(".") {
                tree = self.member(tree, false)?;
            } else if self.accept("?.") {
                optional = true;
                tree = if self.accept("[") {
                    self.index(tree, true)?
                } else {
                    self.member(tree, true)?
                };
            } else if self.accept("[") {
                tree = self.index(tree, false)?;
            } else if optional {
                let height = self.grow(&[tree.1])?;
                return Ok((Node::Chain(Box::new(tree.0)), height));
            } else {
                return Ok(tree);
            }
        }
    }

    fn member(&mut self, of: Tree, optional: bool) -> Result<Tree, String> {
        let Some(Token::Word(name)) = self.peek().cloned() else {
            return self.fault("expected a field name after \".\"");
        };
        self.bump();
        let height = self.grow(&[of.1])?;
        let key = Box::new(Node::Literal(MetricValue::text(name)));
        Ok((Node::Member(Box::new(of.0), key, optional), height))
    }

    fn index(&mut self, of: Tree, optional: bool) -> Result<Tree, String> {
        let from = if self.spelling() == ":" {
            None
        } else {
            Some(self.expression(1)?)
        };
        let is_slice = self.accept(":");
        let to = if is_slice && self.spelling() != "]" {
            Some(self.expression(1)?)
        } else {
            None
        };
        self.expect("]")?;
        let heights = [
            of.1,
            from.as_ref().map_or(0, |t| t.1),
            to.as_ref().map_or(0, |t| t.1),
        ];
        let height = self.grow(&heights)?;
        let of = Box::new(of.0);
        Ok(match from {
            Some((key, _)) if !is_slice => (Node::Member(of, Box::new(key), optional), height),
            from => (
                Node::Slice(of, from.map(|t| Box::new(t.0)), to.map(|t| Box::new(t.0))),
                height,
            ),
        })
    }
}

impl Node {
    /// A text literal, shared.
    pub(super) fn literal_text(&self) -> Option<&Arc<str>> {
        match self {
            Self::Literal(MetricValue::Text(text)) => Some(text),
            Self::Literal(_)
            | Self::Name(_)
            | Self::Hash(_)
            | Self::Unary(..)
            | Self::Binary(..)
            | Self::Ternary(..)
            | Self::List(_)
            | Self::Map(_)
            | Self::Member(..)
            | Self::Slice(..)
            | Self::Chain(_)
            | Self::Call(..)
            | Self::Let(..) => None,
        }
    }
}
